"""The files of ``contrib`` with which other engines use the runtime: read by them where they are here, else checked."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import bundles, callers
from tests.support.cli import CHECKOUT
from tests.support.places import OWN, Place, place
from tests.support.waiting import until

CONTRIB = CHECKOUT / "contrib"
CRI = "io.containerd.grpc.v1.cri"
VALUES = {"n": "node1", "u": "someone", "j": "17", "s": "0", "t": "3", "%": "%"}
"""What Slurm puts in the place of its patterns, the bundle left out."""


@pytest.fixture
def own() -> Iterator[Place]:
    with place(OWN) as where:
        yield where


def with_path_of(where: Place, runtime: Path) -> None:
    where.environment["PATH"] = f"{runtime.parent}:{where.environment['PATH']}"


@pytest.mark.needs("podman", "conmon", "busybox", "overlay", "subuid")
def test_podman() -> None:
    """The file as it is, and the runtime somewhere in PATH."""
    with callers.podman(OWN) as podman:
        directory = podman.place.directory(".config/containers/containers.conf.d")
        (directory / "rootless-oci.conf").write_text((CONTRIB / "podman/rootless-oci.conf").read_text())
        with_path_of(podman.place, podman.runtime)
        flags = podman.words()[:-2]  # without --runtime PATH
        found = json.loads(podman.place.ok(*flags, "info", "--format", "json"))["host"]["ociRuntime"]
        assert (found["name"], found["path"]) == ("rootless-oci", str(podman.runtime))
        run = [*flags, "run", "--rm", "--network", "none"]
        assert podman.place.ok(*run, "--cgroups", "disabled", "box", "id", "-u") == "0\n"
        done = podman.place.run(*run, "box", "/nope")
        assert done.returncode == 127 and "Error: rootless-oci: executable file" in done.stderr


@pytest.mark.needs("containerd")
def test_containerd(own: Place) -> None:
    own.environment["PATH"] += ":/usr/sbin:/sbin"
    loaded = tomllib.loads(own.ok("containerd", "--config", CONTRIB / "containerd/config.toml", "config", "dump"))
    found = loaded["plugins"][CRI]["containerd"]["runtimes"]["rootless-oci"]
    assert found["runtime_type"] == "io.containerd.runc.v2"
    assert found["options"] == {"BinaryName": "/usr/local/bin/rootless-oci", "SystemdCgroup": True}
    default = tomllib.loads(own.ok("containerd", "config", "default"))
    assert set(found) <= set(default["plugins"][CRI]["containerd"]["runtimes"]["runc"])
    assert set(found["options"]) <= set(default["plugins"][CRI]["containerd"]["runtimes"]["runc"]["options"])


def test_crio_and_kubernetes_name_the_same_runtime() -> None:
    document = tomllib.loads((CONTRIB / "cri-o/10-rootless-oci.conf").read_text())
    (handler,) = document["crio"]["runtime"]["runtimes"]
    runtime = document["crio"]["runtime"]["runtimes"][handler]
    assert runtime["runtime_type"] == "oci" and runtime["runtime_path"].endswith("/rootless-oci")
    lines = (CONTRIB / "cri-o/runtimeclass.yaml").read_text().splitlines()
    assert [line for line in lines if not line.startswith("#")] == [
        "apiVersion: node.k8s.io/v1", "kind: RuntimeClass", "metadata:", f"  name: {handler}", f"handler: {handler}",
    ]  # fmt: skip


class Slurm:
    """The commands of oci.conf, with the patterns filled in, run as slurmstepd does: by a shell, as the user."""

    def __init__(self, where: Place) -> None:
        self.place = where
        with_path_of(where, callers.installed(where))
        text = (CONTRIB / "slurm/oci.conf").read_text()
        settings = dict(re.findall(r'^#?(\w+)="(.*)"$', text, re.MULTILINE))
        self.excluded = settings.pop("EnvExclude"), settings.pop("RunTimeEnvExclude")
        self.patterns: dict[str, str] = settings
        self.bundle = where.directory("bundle")
        bundles.make_root(self.bundle / "rootfs")

    def write(self, *command: str) -> None:
        given = bundles.spec(*command)
        given["linux"]["namespaces"] = [one for one in given["linux"]["namespaces"] if one["type"] != "network"]
        given["mounts"] = [one for one in given["mounts"] if one["destination"] != "/sys"]
        (self.bundle / "config.json").write_text(json.dumps(given))

    def expand(self, name: str) -> str:
        values = {**VALUES, "b": str(self.bundle)}
        return re.sub("%(.)", lambda found: values[found[1]], self.patterns[name])

    def call(self, name: str) -> subprocess.CompletedProcess[str]:
        return self.place.run("sh", "-c", f"exec {self.expand(name)}")

    def begin(self, name: str) -> subprocess.Popen[str]:
        command = self.place.command("sh", "-c", f"exec {self.expand(name)}")
        return subprocess.Popen(command, env=self.place.environment, stdout=subprocess.PIPE, text=True)

    def status(self) -> str:
        done = self.call("RunTimeQuery")
        state: dict[str, Any] = json.loads(done.stdout) if done.returncode == 0 else {}
        return str(state.get("status", "absent"))


@pytest.fixture
def slurm(own: Place) -> Iterator[Slurm]:
    made = Slurm(own)
    yield made
    made.call("RunTimeDelete")


def test_slurm_has_every_command(slurm: Slurm) -> None:
    verbs = "Query Kill Delete Run Create Start".split()
    assert set(slurm.patterns) == {f"RunTime{verb}" for verb in verbs}
    for expression in slurm.excluded:
        assert re.search(expression, "SLURM_CONF=/etc/slurm.conf") and not re.search(expression, "SLURM_JOB_ID=1")


@pytest.mark.needs("userns", "busybox")
def test_slurm_with_run(slurm: Slurm) -> None:
    slurm.write("sh", "-c", "echo in the job; exit 7")
    done = slurm.call("RunTimeRun")
    assert (done.returncode, done.stdout) == (7, "in the job\n"), done.stderr
    assert slurm.status() == "absent"
    slurm.write("sh", "-c", "trap 'exit 4' TERM; echo ready; while :; do sleep 0.1; done")
    with slurm.begin("RunTimeRun") as job:
        assert job.stdout and job.stdout.readline() == "ready\n"
        assert slurm.status() == "running"
        assert slurm.call("RunTimeKill").returncode == 0
        assert job.wait(callers.PATIENCE) == 4
    assert slurm.call("RunTimeDelete").returncode == 0


@pytest.mark.needs("userns", "busybox")
def test_slurm_with_create_and_start(slurm: Slurm) -> None:
    slurm.write("sh", "-c", "echo started >/tmp/file; sleep 1000")
    # slurmstepd gives the container the streams of the job's step, which it closes itself.
    with slurm.begin("RunTimeCreate") as creating:
        assert creating.wait(callers.PATIENCE) == 0
        assert slurm.status() == "created"
        assert slurm.call("RunTimeStart").returncode == 0
        until((slurm.bundle / "rootfs/tmp/file").exists)
        assert slurm.status() == "running"
        assert slurm.call("RunTimeDelete").returncode == 0
    assert slurm.status() == "absent"
