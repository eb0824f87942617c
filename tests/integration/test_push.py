"""Pushing by the command line: to Debian's docker-registry, to archives and directories; read by skopeo and podman."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.registry import FakeRegistry, Reply, layer
from tests.fakes.token_server import TokenServer
from tests.support import callers
from tests.support.callers import Podman
from tests.support.certificates import Authority, serving
from tests.support.cli import Cli, new_cli
from tests.support.fixtures import require
from tests.support.images import Layout, busybox_tar
from tests.support.places import OWN
from tests.support.registry import PASSWORD, USER, Registry
from tests.support.waiting import until

pytestmark = pytest.mark.needs("docker-registry", "skopeo", "subuid")

INSECURE = "--tls-verify=false"
IMAGE = "localhost/busybox:latest"
OCI, DOCKER = "application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json"


@pytest.fixture(scope="module")
def podman() -> Iterator[Podman]:
    require("podman", "conmon", "busybox", "subuid", "newuidmap", "overlay")
    with callers.podman(OWN) as made:
        yield made


@pytest.fixture
def fake() -> Iterator[FakeRegistry]:
    with FakeRegistry() as running:
        yield running


def raw(name: str, *flags: str) -> dict[str, Any]:
    """The manifest or index that a registry has, as skopeo sees it, and its digest as ``digest``."""
    command = ["skopeo", "inspect", "--raw", "--tls-verify=false", *flags, f"docker://{name}"]
    done = subprocess.run(command, capture_output=True, check=True, timeout=60)
    return {**json.loads(done.stdout), "digest": f"sha256:{hashlib.sha256(done.stdout).hexdigest()}"}


def digest_of(cli: Cli, name: str) -> str:
    return cli.ok("image", "inspect", "--format", "{{.Digest}}", name).strip()


# To a registry


def test_push_keeps_the_digest_and_prints_nothing(shared_cli: Cli, registry: Registry, tmp_path: Path) -> None:
    name = f"{registry.address}/push/busybox:1"
    done = shared_cli.run("push", INSECURE, "--digestfile", str(tmp_path / "digest"), "busybox", name)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert done.stderr.count("Copying blob sha256:") == 2 and "Copying config sha256:" in done.stderr
    assert done.stderr.endswith("Writing manifest to image destination\n")
    digest = digest_of(shared_cli, IMAGE)
    assert (tmp_path / "digest").read_text() == digest == raw(name)["digest"]
    again = shared_cli.run("push", INSECURE, "busybox", f"docker://{name}")
    assert again.stderr.count("skipped: already exists") == 2
    assert shared_cli.run("image", "push", "-q", INSECURE, "--disable-content-trust", "busybox", name).stderr == ""
    last = shared_cli.ok("events", "--stream=false", "--filter", "event=push", "--format", "{{.Name}}").splitlines()[-1]
    assert last == name


def test_what_was_pulled_is_pushed_byte_for_byte(cli: Cli, registry: Registry, tmp_path: Path) -> None:
    for docker_format in (False, True):
        made = Layout(tmp_path / f"{docker_format}")
        made.add_image("latest", [made.add_layer(busybox_tar())], {"Cmd": ["sh"]})
        name = registry.push(made.directory, f"same/a{docker_format:d}", docker_format=docker_format)
        cli.ok("pull", "-q", INSECURE, name)
        other = f"{registry.address}/same/b{docker_format:d}:2"
        cli.ok("push", "-q", INSECURE, name, other)
        assert raw(other) == raw(name)


@pytest.mark.parametrize("kind", ["gzip", "zstd", "zstd:chunked"])
def test_podman_runs_what_was_pushed(shared_cli: Cli, registry: Registry, podman: Podman, kind: str) -> None:
    name = f"{registry.address}/run/{kind.replace(':', '-')}"
    shared_cli.ok("push", "-q", INSECURE, "--compression-format", kind, IMAGE, name)
    assert all(each["mediaType"].endswith(kind.partition(":")[0]) for each in raw(name)["layers"])
    podman.ok("pull", "--quiet", INSECURE, name)
    assert podman.ok("run", "--rm", "--network=none", name, "cat", "/srv/second-layer") == "second"
    with new_cli() as cli:
        cli.ok("pull", "-q", INSECURE, name)
        assert cli.ok("run", "--rm", "--network=none", name, "cat", "/srv/second-layer") == "second\n"
        cli.ok("push", "-q", INSECURE, name, f"{name}:again")  # compressed already: as it is
    assert raw(f"{name}:again") == raw(name)


def test_what_podman_pushed_is_pushed_on(registry: Registry, podman: Podman, busybox_layout: Path, cli: Cli) -> None:
    podman.ok("pull", "--quiet", f"oci:{busybox_layout}:latest")
    image = podman.ok("images", "--quiet", "--no-trunc").splitlines()[0]
    name = f"{registry.address}/of-podman/busybox"
    podman.ok("push", "--quiet", INSECURE, image, f"docker://{name}")
    cli.ok("pull", "-q", INSECURE, name)
    cli.ok("push", "-q", INSECURE, name, f"{name}:2")
    assert raw(f"{name}:2") == raw(name)


def test_levels_and_what_is_kept(shared_cli: Cli, registry: Registry) -> None:
    name = f"{registry.address}/level/busybox"
    sizes = []
    for level in ("1", "19"):
        flags = ["--compression-format=zstd", f"--compression-level={level}"]
        shared_cli.ok("push", "-q", INSECURE, *flags, IMAGE, f"{name}:{level}")
        sizes.append(raw(f"{name}:{level}")["layers"][0]["size"])
    assert sizes[1] < sizes[0]
    shared_cli.ok("push", "-q", INSECURE, IMAGE, f"{name}:gzip")
    flags = ["--compression-format=zstd", "--force-compression=false"]
    shared_cli.ok("push", "-q", INSECURE, *flags, IMAGE, f"{name}:kept")
    assert raw(f"{name}:kept") == raw(f"{name}:gzip")


def test_formats(shared_cli: Cli, registry: Registry) -> None:
    name = f"{registry.address}/format/busybox"
    for form, media_type in (("v2s2", DOCKER), ("docker", DOCKER), ("oci", OCI)):
        shared_cli.ok("push", "-q", INSECURE, "--format", form, IMAGE, f"{name}:{form}")
        found = raw(f"{name}:{form}")
        assert found["mediaType"] == media_type
        assert ("docker" in found["config"]["mediaType"]) == (media_type == DOCKER)
    assert raw(f"{name}:oci")["digest"] == digest_of(shared_cli, IMAGE)


def test_plain_layers_are_compressed_on_the_way(
    cli: Cli, registry: Registry, busybox_layout: Path, tmp_path: Path
) -> None:
    archive = tmp_path / "saved.tar"
    command = ["skopeo", "--insecure-policy", "copy", "-q", f"oci:{busybox_layout}:latest"]
    command.append(f"docker-archive:{archive}:x:1")
    subprocess.run(command, check=True, capture_output=True)
    cli.ok("load", "-q", "-i", str(archive))
    name = f"{registry.address}/plain/busybox"
    cli.ok("push", "-q", INSECURE, "x:1", name)
    assert all(each["mediaType"].endswith("tar+gzip") for each in raw(name)["layers"])
    cli.ok("pull", "-q", INSECURE, name)
    assert cli.ok("run", "--rm", "--network=none", name, "cat", "/srv/second-layer") == "second\n"


def test_blobs_of_another_repository_are_mounted(cli: Cli, fake: FakeRegistry) -> None:
    manifest = fake.add_image("base", [layer({"f": b"base"})])
    cli.ok("pull", "-q", INSECURE, f"{fake.host}/base")
    fake.elsewhere, fake.blobs = dict(fake.blobs), {}
    fake.seen.clear()
    cli.ok("push", "-q", INSECURE, f"{fake.host}/base", f"{fake.host}/app/new")
    (mount,) = fake.requests("mount=")
    assert mount.query == {"mount": [manifest["layers"][0]["digest"]], "from": ["base"]}
    assert fake.finished == [manifest["config"]["digest"]]
    assert fake.manifests["app/new", "latest"] == fake.manifests["base", "latest"]


# Credentials and trust


@pytest.mark.parametrize("way", ["login", "creds"])
@pytest.mark.parametrize("kind", ["basic_registry", "token_registry"])
def test_credentials(shared_cli: Cli, request: pytest.FixtureRequest, kind: str, way: str) -> None:
    registry: Registry = request.getfixturevalue(kind)
    name = f"{registry.address}/secret/{way}"
    error = shared_cli.fails(125, "push", "-q", INSECURE, IMAGE, name)
    assert "authentication required" in error and "rootless login" in error
    if way == "login":
        shared_cli.ok("login", INSECURE, "-u", USER, "--password-stdin", registry.address, stdin=PASSWORD)
        shared_cli.ok("push", "-q", INSECURE, IMAGE, name)
        shared_cli.ok("logout", registry.address)
    else:
        shared_cli.ok("push", "-q", INSECURE, "--creds", f"{USER}:{PASSWORD}", IMAGE, name)
    assert raw(name, "--creds", f"{USER}:{PASSWORD}")["digest"] == digest_of(shared_cli, IMAGE)
    error = shared_cli.fails(125, "push", "-q", INSECURE, "--creds", f"{USER}:wrong", IMAGE, name)
    assert "invalid username/password" in error and "wrong" not in error


def test_the_token_is_for_the_push_alone(
    shared_cli: Cli, token_registry: Registry, token_server: TokenServer
) -> None:
    token_server.asked.clear()
    name = f"{token_registry.address}/scope/busybox"
    shared_cli.ok("push", "-q", INSECURE, "--creds", f"{USER}:{PASSWORD}", IMAGE, name)
    assert {tuple(asked["scope"]) for asked in token_server.asked} == {("repository:scope/busybox:pull,push",)}


def test_trust(shared_cli: Cli, authority: Authority, tmp_path: Path) -> None:
    context = serving(authority.issue("server", "IP:127.0.0.1"))
    with FakeRegistry(tls=context) as fake:
        error = shared_cli.fails(125, "push", "-q", "--retry=0", IMAGE, f"{fake.host}/app")
        assert "cannot trust registry" in error
        assert not fake.seen
        shutil.copy(authority.certificate, tmp_path / "ca.crt")
        shared_cli.ok("push", "-q", "--cert-dir", str(tmp_path), IMAGE, f"{fake.host}/app")
        assert ("app", "latest") in fake.manifests


def test_registries_conf(cli: Cli, fake: FakeRegistry, busybox_layout: Path) -> None:
    image = cli.ok("pull", "-q", f"oci:{busybox_layout}:latest").strip()
    path = cli.home / "config" / "containers" / "registries.conf"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f'[[registry]]\nlocation = "{fake.host}"\ninsecure = true\n'
        '[[registry.mirror]]\nlocation = "127.0.0.1:1"\n'
        '[[registry]]\nlocation = "blocked.example"\nblocked = true\n'
    )
    cli.ok("push", "-q", image, f"{fake.host}/app")
    assert ("app", "latest") in fake.manifests
    error = cli.fails(125, "push", "-q", image, "blocked.example/app")
    assert "cannot push blocked.example/app: registry blocked.example is blocked" in error


# Ends before the end


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=lambda number: number.name)
def test_a_push_that_is_ended_leaves_nothing(
    cli: Cli, fake: FakeRegistry, busybox_layout: Path, number: signal.Signals
) -> None:
    image = cli.ok("pull", "-q", f"oci:{busybox_layout}:latest").strip()
    fake.script("PUT ", Reply(read=0, hang=True), 3)
    words = ["push", "-q", INSECURE, "--compression-format=zstd", image, f"{fake.host}/app"]
    process = cli.popen(*words)
    until(lambda: len(fake.requests("PUT ")) == 3)
    process.send_signal(number)
    process.communicate(timeout=30)  # all that wrote to its pipes have ended
    assert process.returncode == (130 if number == signal.SIGINT else -number)
    if number == signal.SIGKILL:
        cli.ok("system", "prune", "-f")
    assert os.listdir(cli.data / "tmp") == []
    assert cli.ok("system", "check") == ""
    image = cli.ok("pull", "-q", f"oci:{busybox_layout}:latest").strip()
    cli.ok(*words[:-2], image, f"{fake.host}/app")
    assert ("app", "latest") in fake.manifests


# Lists, archives and directories


def test_a_list_goes_with_its_images(cli: Cli, registry: Registry, fake: FakeRegistry) -> None:
    for architecture in ("amd64", "arm64"):
        fake.add_image("app", [layer({"f": architecture.encode()})], tag=architecture, architecture=architecture)
        cli.ok("pull", "-q", INSECURE, "--arch", architecture, f"{fake.host}/app:{architecture}")
    cli.ok("manifest", "create", "both", f"{fake.host}/app:amd64", f"{fake.host}/app:arm64")
    name = f"{registry.address}/list/app"
    cli.ok("push", "-q", INSECURE, "--all", "both", name)
    assert {each["platform"]["architecture"] for each in raw(name)["manifests"]} == {"amd64", "arm64"}
    for architecture in ("amd64", "arm64"):
        with new_cli() as other:
            other.ok("pull", "-q", INSECURE, "--arch", architecture, name)
            assert digest_of(other, name) == digest_of(cli, f"{fake.host}/app:{architecture}")
    cli.ok("push", "-q", INSECURE, "--compression-format", "zstd", "both", name)
    for entry in raw(name)["manifests"]:
        assert raw(f"{name}@{entry['digest']}")["layers"][0]["mediaType"].endswith("tar+zstd")
    signed = ("--sign-by", "nobody@example.com", "--format", "v2s2")
    assert "cannot sign the images of a list" in cli.fails(125, "push", "-q", INSECURE, *signed, "both", name)


@pytest.mark.parametrize(
    ("destination", "inspected"),
    [
        ("oci:{}/layout:tag", "oci:{}/layout:tag"), ("oci-archive:{}/a.tar", "oci-archive:{}/a.tar"),
        ("docker-archive:{}/d.tar:x/y:1", "docker-archive:{}/d.tar:x/y:1"), ("dir:{}/plain", "dir:{}/plain"),
    ],
)  # fmt: skip
def test_archives_and_directories(shared_cli: Cli, tmp_path: Path, destination: str, inspected: str) -> None:
    place = destination.format(tmp_path)
    shared_cli.ok("push", "-q", "--digestfile", str(tmp_path / "digest"), IMAGE, place)
    command = ["skopeo", "inspect", "--config", inspected.format(tmp_path)]
    config = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    assert config["config"]["Labels"] == {"maker": "tests"}
    if not destination.startswith("docker-archive"):
        assert (tmp_path / "digest").read_text() == digest_of(shared_cli, IMAGE)


# Refusals


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nothing"], "image not known"),
        ([IMAGE], "its name has no registry"),
        ([IMAGE, "Not/Valid"], "must be lowercase"),
        ([IMAGE, "docker-daemon:x"], "cannot push to docker-daemon:x"),
        ([IMAGE, "127.0.0.1:1/x@sha256:" + "0" * 64], "leave the digest out"),
        (["--format=v2s1", IMAGE, "127.0.0.1:1/x"], "unknown format"),
        (["--format=v2s2", "--compression-format=zstd", IMAGE, "127.0.0.1:1/x"], "with zstd"),
        (["--compression-format=lzma", IMAGE, "127.0.0.1:1/x"], "cannot compress with"),
        (["--compression-level=0", IMAGE, "127.0.0.1:1/x"], "--compression-level=0"),
        (["--force-compression", IMAGE, "127.0.0.1:1/x"], "--force-compression without"),
        (["--compress", IMAGE, "oci:/nowhere"], "--compress can only"),
        (["--disable-content-trust=false", IMAGE, "127.0.0.1:1/x"], "no content trust"),
        (["--digestfile=/nowhere/x", IMAGE, "dir:{}/plain"], "cannot write /nowhere/x"),
    ],
)
def test_refusals(shared_cli: Cli, tmp_path: Path, words: list[str], said: str) -> None:
    flags = [INSECURE, "--retry=0"]
    assert said in shared_cli.fails(125, "push", "-q", *flags, *(word.format(tmp_path) for word in words))


def test_a_damaged_blob_is_told(cli: Cli, registry: Registry, busybox_layout: Path) -> None:
    cli.ok("tag", cli.ok("pull", "-q", f"oci:{busybox_layout}:latest").strip(), "app")
    command = ["skopeo", "inspect", "--raw", f"oci:{cli.data / 'images'}:localhost/app:latest"]
    manifest = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    blob = cli.data / "images" / "blobs" / "sha256" / manifest["layers"][0]["digest"].partition(":")[2]
    data = blob.read_bytes()
    blob.chmod(0o600)
    blob.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    error = cli.fails(125, "push", "-q", INSECURE, "app", f"{registry.address}/damaged/app")
    assert "its bytes are not those of its digest" in error and "system check" in error
