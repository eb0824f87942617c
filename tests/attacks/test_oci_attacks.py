"""What a ``config.json`` and a caller may do to ``rootless-oci``, and what the program then gets."""

from __future__ import annotations

import os
import subprocess
from typing import Any

import pytest

from tests.attacks.test_host_secrets import leaked  # noqa: F401  (a fixture)
from tests.integration.test_oci import BOTH, HOOKS, Runtime, runtime  # noqa: F401  (a fixture)
from tests.support import bundles

LONG = "x" * 70_000
MAPS = 100_000


@pytest.fixture
def oci(runtime: Runtime) -> Runtime:  # noqa: F811
    """The program with a bundle."""
    return runtime


def refused(oci: Runtime, given: dict[str, Any]) -> str:
    """Run what must not be run: one error in words, nothing started, nothing left."""
    oci.write(given)
    done = oci.box()
    assert done.returncode in (125, 126, 127, 1) and "started" not in done.stdout, done.stdout
    lines = done.stderr.splitlines()
    assert lines and "Traceback" not in done.stderr and "internal error" not in done.stderr, done.stderr[:2000]
    assert oci.status() == "absent"
    return done.stderr


@BOTH
@pytest.mark.parametrize("kind", ["one", "many", "overlapping"])
def test_a_hundred_thousand_id_maps_row_52(_who: str, oci: Runtime, kind: str) -> None:
    """CVE-2021-43784: the kernel takes 340 rows; the rest is not cut off but refused."""
    given = bundles.spec("echo", "started")
    rows = [{"containerID": n, "hostID": 100_000 + n, "size": 1} for n in range(MAPS)]
    if kind == "overlapping":
        rows = [{"containerID": 0, "hostID": 0, "size": 4294967295} for _ in range(MAPS)]
    given["linux"]["uidMappings"] = rows
    given["linux"]["gidMappings"] = rows if kind != "one" else rows[:1]
    oci.write(given)
    if os.getuid() == 0:  # the maps are of a user namespace, which root's bundle need not have
        text = (oci.bundle / "config.json").read_text()
        (oci.bundle / "config.json").write_text(text.replace('"namespaces": [', '"namespaces": [{"type": "user"}, '))
    done = oci.box()
    assert done.returncode not in (0, 255) and "started" not in done.stdout
    assert "Traceback" not in done.stderr and "internal error" not in done.stderr, done.stderr[:2000]
    assert oci.status() == "absent"


@BOTH
@pytest.mark.parametrize("place", ["cwd", "destination", "source", "masked", "readonly", "device", "rootfs",
                                   "hostname", "namespace", "hook", "sysctl", "cgroup", "option"])  # fmt: skip
def test_paths_of_70000_bytes_are_refused_row_52(_who: str, oci: Runtime, place: str) -> None:
    given = bundles.spec("echo", "started")
    path = "/" + LONG
    if place == "cwd":
        given["process"]["cwd"] = path
    elif place == "destination":
        given["mounts"].append(bundles.bind("/", path))
    elif place == "source":
        given["mounts"].append(bundles.bind(path, "/mnt"))
    elif place == "masked":
        given["linux"]["maskedPaths"] = [path]
    elif place == "readonly":
        given["linux"]["readonlyPaths"] = [path]
    elif place == "device":
        given["linux"]["devices"] = [{"path": "/dev/" + LONG, "type": "c", "major": 1, "minor": 3}]
    elif place == "rootfs":
        given["root"]["path"] = path
    elif place == "hostname":
        given["hostname"] = LONG
    elif place == "namespace":
        given["linux"]["namespaces"][-1] = {"type": "cgroup", "path": path}
    elif place == "hook":
        given["hooks"] = {"createRuntime": [{"path": path}]}
    elif place == "sysctl":
        given["linux"]["sysctl"] = {"net." + LONG: "1"}
    elif place == "cgroup":
        given["linux"]["cgroupsPath"] = path
    else:
        given["mounts"].append(bundles.mount("/mnt", "tmpfs", LONG))
    refused(oci, given)


@BOTH
def test_words_of_70000_bytes_arrive_whole_row_52(_who: str, oci: Runtime) -> None:
    """An argument and a variable may have that length: nothing of them is lost, in what joins neither."""
    given = bundles.spec("sh", "-c", "echo ${#0} ${#VARIABLE}; sleep 100", LONG)
    given["process"]["env"].append(f"VARIABLE={LONG}")
    given["annotations"] = {"some": LONG}
    oci.write(given)
    running = subprocess.Popen(
        oci.command("run", "--bundle", str(oci.bundle), "box"), env=oci.environment, stdout=subprocess.PIPE, text=True
    )
    assert running.stdout
    assert running.stdout.readline() == "70000 70000\n"
    script = ("sh", "-c", "echo ${#0} ${#OTHER}", LONG)
    assert oci.ok("exec", "--env", f"OTHER={LONG}", "box", *script) == "70000 70000\n"
    assert "Traceback" not in oci.run("exec", "--cwd", "/" + LONG, "box", "true").stderr
    assert oci.run("exec", "--cwd", "/" + LONG, "box", "true").returncode != 0
    oci.ok("kill", "box", "KILL")
    running.communicate()
    for place in ("args", "env"):
        given["process"][place] = ["echo", "started", "x" * (1 << 17)] if place == "args" else ["A=" + "x" * (1 << 17)]
        given["process"]["args"] = given["process"]["args"] if place == "args" else ["echo", "started"]
        refused(oci, given)


@BOTH
def test_hooks_get_no_leaked_descriptor_row_41(_who: str, oci: Runtime, leaked: range) -> None:  # noqa: F811
    """What the caller of the runtime leaks reaches no hook and not the program."""
    given = bundles.spec("sh", "-c", "ls /proc/self/fd >/seen-program; ls /proc/1/fd >/seen-first")
    root = oci.bundle / "rootfs"
    given["hooks"] = {}
    for moment in HOOKS:
        target = f"/seen-{moment}" if moment == "startContainer" else f"{root}/seen-{moment}"
        given["hooks"][moment] = [{"path": "/bin/sh", "args": ["sh", "-c", f"ls /proc/self/fd >{target}"],
                                   "env": ["PATH=/usr/bin:/bin"]}]  # fmt: skip
    oci.write(given)
    command = oci.command("run", "--bundle", str(oci.bundle), "box")
    done = subprocess.run(command, env=oci.environment, pass_fds=leaked, timeout=60, check=False, capture_output=True)
    assert done.returncode == 0, done.stderr
    seen = {path.name: set(path.read_text().split()) for path in root.glob("seen-*")}
    assert set(seen) == {f"seen-{name}" for name in (*HOOKS, "program", "first")}
    # One more is the listing itself.
    assert not {name: found for name, found in seen.items() if not found <= {"0", "1", "2", "3"}}


@BOTH
def test_exec_with_a_capability_row_57(_who: str, oci: Runtime) -> None:
    """CVE-2022-29162: exec --cap gives what it names and nothing inheritable."""
    running = oci.start("sleep", "100")
    script = ("grep", "Cap", "/proc/self/status")
    for flags in ((), ("--cap", "CAP_NET_RAW"), ("--user", "0:0", "--cap", "CAP_NET_RAW", "--cap", "CAP_SYS_PTRACE")):
        found = dict(line.split(":\t") for line in oci.ok("exec", *flags, "box", *script).splitlines())
        assert int(found["CapInh"], 16) == int(found["CapAmb"], 16) == 0, (flags, found)
        assert not int(found["CapPrm"], 16) & ~int(found["CapBnd"], 16)
    oci.ok("kill", "box", "KILL")
    running.communicate()
