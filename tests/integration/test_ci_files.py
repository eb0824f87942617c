"""The files for CI in contrib/ci: well-formed, and what they run is really run, on hosts of every kind."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from rootless.containerfile.parse import parse
from tests.support import of_podman, schemas
from tests.support.alone import Alone
from tests.support.cli import CHECKOUT, Cli
from tests.support.registry import PASSWORD, USER, Registry

FILES = CHECKOUT / "contrib/ci"
SCRIPT = FILES / "build-and-push"
CONTAINERFILE = """
FROM localhost/busybox
RUN --mount=type=secret,id=token test "$(cat /run/secrets/token)" = "a secret" && echo made > /made
CMD ["cat", "/made"]
"""

needs_containers = pytest.mark.needs("userns", "busybox")


def document(name: str) -> Any:
    """A YAML file; what is there twice is refused, as GitHub and GitLab do."""

    class Strict(yaml.SafeLoader):
        pass

    def mapping(loader: Strict, node: yaml.MappingNode) -> dict[Any, Any]:
        pairs = [(loader.construct_object(key, deep=True), value) for key, value in node.value]
        assert len({key for key, _ in pairs}) == len(pairs), f"{name}: a key is there twice: {node.start_mark}"
        return {key: loader.construct_object(value, deep=True) for key, value in pairs}

    Strict.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, mapping)
    return yaml.load((FILES / name).read_text(), Strict)


def assert_shell(script: str) -> None:
    done = subprocess.run(["sh", "-n"], input=script, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stderr}\n{script}"


def variables(script: str) -> set[str]:
    """The names that the comment at the head of the script explains."""
    head = script.partition("set -eu")[0]
    return {word.strip(",") for line in head.splitlines() for word in line.split() if word.strip(",").isupper()}


def test_the_workflow_of_github() -> None:
    found = document("github-workflow.yml")
    (job,) = found["jobs"].values()
    assert found["permissions"] == {"contents": "read", "packages": "write"}
    for step in job["steps"]:
        assert ("uses" in step) != ("run" in step)
        assert_shell(step.get("run", ""))
    build = job["steps"][-1]
    assert build["run"].endswith("contrib/ci/build-and-push")
    assert {"IMAGE", "CACHE_REPOSITORY", "REGISTRY_USER", "REGISTRY_PASSWORD"} <= variables(SCRIPT.read_text())
    assert set(build["env"]) - {"TOKEN"} <= variables(SCRIPT.read_text())
    for path in ("contrib/apparmor/install", "contrib/ci/build-and-push"):
        assert any(path in step.get("run", "") for step in job["steps"]) and (CHECKOUT / path).exists()


def test_the_job_of_gitlab() -> None:
    found = document("gitlab-ci.yml")
    job = found["image"]
    assert job["stage"] in found["stages"]
    assert set(job["variables"]) <= variables(SCRIPT.read_text())
    assert_shell("\n".join(job["script"]))


def test_the_pod_of_kubernetes() -> None:
    pod = document("kubernetes-pod.yml")
    (container,) = pod["spec"]["containers"]
    assert "privileged" not in container["securityContext"]
    assert {entry["name"] for entry in container["env"]} <= variables(SCRIPT.read_text())
    volumes = {volume["name"] for volume in pod["spec"]["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == volumes


def test_the_image_is_described_without_a_mistake() -> None:
    found = parse((FILES / "Containerfile").read_bytes(), "Containerfile")
    assert len(found.stages) == 2


@pytest.fixture
def context(tmp_path: Path) -> Path:
    (tmp_path / "context").mkdir()
    (tmp_path / "context/Containerfile").write_text(CONTAINERFILE)
    return tmp_path / "context"


def run(cli: Cli, prefix: list[str], settings: Mapping[str, str]) -> str:
    """Run the script where ``rootless`` is the program; what it says."""
    tools = cli.home / "bin"
    tools.mkdir(exist_ok=True)
    wrapper = tools / "rootless"
    wrapper.write_text(f'#!/bin/sh\nexec {shlex.join(Cli.command(cli))} "$@"\n')
    wrapper.chmod(0o755)
    environment = {**cli.environment, "PATH": f"{tools}:{cli.environment['PATH']}", "TOKEN": "a secret", **settings}
    done = subprocess.run(
        [*prefix, str(SCRIPT)], capture_output=True, text=True, timeout=240, check=False, env=environment
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert PASSWORD not in said
    return said


@pytest.fixture
def builder(shared_cli: Cli) -> Iterator[Cli]:
    yield shared_cli
    for image in json.loads(shared_cli.ok("images", "--format", "json")):
        if "localhost/busybox:latest" not in image["Names"]:
            shared_cli.ok("rmi", "-f", image["Id"])


@needs_containers
@pytest.mark.needs("subuid", "newuidmap", "docker-registry", "skopeo")
def test_a_job_builds_tries_and_pushes(builder: Cli, basic_registry: Registry, context: Path) -> None:
    settings = builder.home / "config/containers"
    settings.mkdir(parents=True, exist_ok=True)
    (settings / "registries.conf").write_text(f'[[registry]]\nlocation = "{basic_registry.address}"\ninsecure = true\n')
    output = context.parent / "output"
    said = run(builder, [], {
        "GITHUB_ACTIONS": "true", "GITHUB_OUTPUT": str(output), "GITHUB_SHA": "abc123",
        "IMAGE": f"{basic_registry.address}/team/app", "CACHE_REPOSITORY": f"{basic_registry.address}/team/cache",
        "REGISTRY_USER": USER, "REGISTRY_PASSWORD": PASSWORD, "CONTEXT": str(context), "TMPDIR": str(context.parent),
        "TEST_COMMAND": 'test "$(cat /made)" = made', "BUILD_SECRETS": "id=token,env=TOKEN",
        "BUILD_FLAGS": "--network=none --label=a=b",
    })  # fmt: skip
    assert said.count("::group::") == said.count("::endgroup::") >= 3
    digest = output.read_text().removeprefix("digest=").strip()
    told = subprocess.run(
        ["skopeo", "inspect", "--tls-verify=false", f"--creds={USER}:{PASSWORD}",
         f"docker://{basic_registry.address}/team/app:abc123"],
        capture_output=True, text=True, check=True, env={**os.environ, "XDG_RUNTIME_DIR": str(context)},
    )  # fmt: skip
    found = json.loads(told.stdout)
    assert found["Digest"] == digest
    assert found["Labels"]["a"] == "b"
    assert "a secret" not in told.stdout
    assert not list(context.parent.glob("tmp.*"))  # the credentials went with the job
    assert not list(builder.home.rglob("auth.json"))


@needs_containers
def test_a_job_of_a_user_without_a_range(alone: Alone, context: Path) -> None:
    archive = context.parent / "image.tar"
    said = run(alone, alone.prefix, {
        "GITLAB_CI": "true", "CI_COMMIT_SHA": "abc123", "IMAGE": "registry.example.com/app", "CONTEXT": str(context),
        "TEST_COMMAND": "test -s /made", "BUILD_SECRETS": "id=token,env=TOKEN", "BUILD_FLAGS": "--network=none",
        "DESTINATION": f"oci-archive:{archive}",
    })  # fmt: skip
    assert said.count("section_start:") == said.count("section_end:") >= 3
    assert schemas.of_archive(archive).wrong == []


@needs_containers
@pytest.mark.needs("podman", "subuid", "newuidmap")
def test_a_job_in_a_plain_container(busybox_layout: Path) -> None:
    """An unprivileged container of podman's: with a /proc of its own, nothing else."""
    with of_podman.outer(busybox_layout) as outer:
        (outer.store / "context").mkdir()
        (outer.store / "context/Containerfile").write_text(CONTAINERFILE)
        code, said = outer.run(
            """
            mkdir /store/bin
            printf '#!/bin/sh\\nexec "$PYTHON" -m rootless "$@"\\n' >/store/bin/rootless
            chmod 755 /store/bin/rootless
            export PATH=/store/bin:$PATH TOKEN="a secret" IMAGE=registry.example.com/app CONTEXT=/store/context
            export BUILD_SECRETS=id=token,env=TOKEN BUILD_FLAGS=--network=none TEST_COMMAND="test -s /made"
            export DESTINATION=oci-archive:/store/image.tar
            rootless tag "$(rootless pull -q oci:/layout:latest)" localhost/busybox
            /checkout/contrib/ci/build-and-push && chmod 644 /store/image.tar
            """,
            "--security-opt=unmask=ALL",
        )
        assert code == 0, said
        assert "pushed registry.example.com/app:latest@sha256:" in said
        assert schemas.of_archive(outer.store / "image.tar").wrong == []
