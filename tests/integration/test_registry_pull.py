"""Pulling by the command line from Debian's docker-registry: anonymous, with basic and with token authentication."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.locks import is_held
from tests.fakes.registry import INDEX, FakeRegistry, Reply, layer
from tests.fakes.token_server import TokenServer
from tests.support.cli import Cli
from tests.support.registry import PASSWORD, USER, Registry
from tests.support.waiting import until

pytestmark = pytest.mark.needs("docker-registry", "skopeo", "subuid")

INSECURE = "--tls-verify=false"


@pytest.fixture
def fake() -> Iterator[FakeRegistry]:
    with FakeRegistry() as running:
        yield running


def configure(cli: Cli, text: str) -> None:
    """Give the user a registries.conf."""
    path = cli.home / "config" / "containers" / "registries.conf"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def images(cli: Cli) -> list[dict[str, object]]:
    found = json.loads(cli.ok("images", "--format", "json"))
    assert isinstance(found, list)
    return found


# Pulls that succeed


@pytest.mark.parametrize("docker_format", [False, True])
def test_pull_prints_the_id_alone(cli: Cli, registry: Registry, busybox_layout: Path, docker_format: bool) -> None:
    name = registry.push(busybox_layout, f"pull/busybox{docker_format:d}", docker_format=docker_format)
    done = cli.run("pull", INSECURE, name)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout) == 65 and not done.stdout.strip().strip("0123456789abcdef")
    assert f"Trying to pull {name}..." in done.stderr
    assert "Writing manifest to image destination" in done.stderr
    (image,) = images(cli)
    assert image["Id"] == done.stdout.strip()
    assert image["Names"] == [name]
    assert cli.run("pull", INSECURE, "-q", name).stderr == ""


def test_skopeo_reads_the_store(cli: Cli, registry: Registry, busybox_layout: Path, tmp_path: Path) -> None:
    name = registry.push(busybox_layout, "pull/skopeo")
    cli.ok("pull", "-q", INSECURE, name)
    store = f"oci:{cli.data / 'images'}"
    inspected = subprocess.run(["skopeo", "inspect", f"{store}:{name}"], capture_output=True, text=True, check=True)
    assert len(json.loads(inspected.stdout)["Layers"]) == 2
    command = ["skopeo", "--insecure-policy", "copy", f"{store}:{name}", f"dir:{tmp_path / 'out'}"]
    subprocess.run(command, capture_output=True, check=True)


def test_what_is_there_is_not_fetched_again(cli: Cli, fake: FakeRegistry) -> None:
    shared = layer({"shared": b"s" * 1000})
    fake.add_image("app", [shared, layer({"a": b"1"})], tag="1")
    fake.add_image("app", [shared, layer({"b": b"2"})], tag="2")
    cli.ok("pull", "-q", INSECURE, f"{fake.host}/app:1")
    fake.seen.clear()
    done = cli.run("pull", INSECURE, f"{fake.host}/app:2")
    assert done.stderr.count("already exists") == 1
    assert len(fake.requests("/blobs/")) == 2  # the configuration and one layer
    fake.seen.clear()
    cli.ok("pull", "-q", INSECURE, f"{fake.host}/app:2")
    assert fake.requests("/blobs/") == []


def test_the_platform_is_chosen_from_an_index(cli: Cli, fake: FakeRegistry) -> None:
    entries = []
    for architecture, variant in (("amd64", ""), ("arm64", "v8"), ("arm", "v7")):
        fake.add_image("app", [layer({"arch": architecture.encode()})], tag=architecture, architecture=architecture)
        data, media_type = fake.manifests["app", architecture]
        platform = {"os": "linux", "architecture": architecture, **({"variant": variant} if variant else {})}
        entries.append({**fake.put_blob(data, media_type), "platform": platform})
    digest = fake.put_manifest(
        "app", {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}, media_type=INDEX
    )
    for flags in (["--platform", "linux/arm64"], ["--arch", "arm", "--variant", "v7"], ["--platform=linux/arm64/v8"]):
        image = cli.ok("pull", "-q", INSECURE, *flags, f"{fake.host}/app").strip()
        inspected = json.loads(cli.ok("image", "inspect", image))[0]
        assert inspected["Architecture"] == ("arm" if "arm" in flags else "arm64")
    error = cli.fails(125, "pull", "-q", INSECURE, "--platform", "linux/s390x", f"{fake.host}/app")
    assert "no image found in image index for platform linux/s390x" in error
    assert "it has: linux/amd64, linux/arm/v7, linux/arm64/v8" in error
    cli.ok("pull", "-q", INSECURE, "--arch", "arm64", f"{fake.host}/app@{digest}")
    assert cli.run("image", "exists", f"{fake.host}/app@{digest}").returncode == 0


def test_a_pinned_digest(cli: Cli, registry: Registry, busybox_layout: Path) -> None:
    name = registry.push(busybox_layout, "pull/pinned").rpartition(":")[0]
    digest = json.loads((busybox_layout / "index.json").read_text())["manifests"][0]["digest"]
    cli.ok("pull", "-q", INSECURE, f"{name}@{digest}")
    assert images(cli)[0]["Digest"] == digest
    error = cli.fails(125, "pull", "-q", INSECURE, f"{name}@sha256:{'0' * 64}")
    assert "manifest unknown" in error


def test_pull_policies(cli: Cli, registry: Registry, busybox_layout: Path) -> None:
    name = registry.push(busybox_layout, "pull/policy")
    assert "image not known" in cli.fails(125, "pull", "--policy", "never", INSECURE, name)
    cli.ok("pull", "-q", INSECURE, "--policy", "missing", name)
    cli.ok("pull", "-q", "--policy", "missing", name)
    cli.ok("pull", "-q", "--policy", "never", name)
    cli.fails(125, "pull", "-q", "--policy", "sometimes", name)


# registries.conf


def test_short_names_mirrors_and_insecure_registries(cli: Cli, fake: FakeRegistry, registry: Registry) -> None:
    fake.add_image("mirrored/app", [layer({"f": b"x"})])
    configure(
        cli,
        f"""
        unqualified-search-registries = ["r.invalid"]
        [[registry]]
        prefix = "r.invalid"
        [[registry.mirror]]
        location = "{registry.address}/nothing"
        insecure = true
        [[registry.mirror]]
        location = "{fake.host}/mirrored"
        insecure = true
        [[registry]]
        prefix = "b.invalid"
        blocked = true
        [aliases]
        alias = "r.invalid/app"
        """,
    )
    done = cli.run("pull", "app")
    assert done.returncode == 0, done.stderr
    assert f"mirror {registry.address}" in done.stderr
    assert images(cli)[0]["Names"] == ["r.invalid/app:latest"]
    cli.ok("rmi", "app")
    cli.ok("pull", "-q", "alias")
    assert images(cli)[0]["Names"] == ["r.invalid/app:latest"]
    assert "blocked" in cli.fails(125, "pull", "b.invalid/app")


# Authentication


@pytest.mark.parametrize("kind", ["basic", "token"])
def test_login_pull_logout(cli: Cli, request: pytest.FixtureRequest, busybox_layout: Path, kind: str) -> None:
    registry: Registry = request.getfixturevalue(f"{kind}_registry")
    name = registry.push(busybox_layout, "login/busybox")
    error = cli.fails(125, "pull", "-q", INSECURE, name)
    assert "unauthorized: authentication required" in error
    assert f"rootless login {registry.address.partition(':')[0]}" in error
    wrong = ("login", INSECURE, "-u", USER, "--password-stdin", registry.address)
    assert "invalid username/password" in cli.fails(125, *wrong, stdin="wrong")
    auth_file = cli.home / "run" / "containers" / "auth.json"
    assert not auth_file.exists()
    assert cli.ok(*wrong, stdin=PASSWORD + "\n") == "Login Succeeded!\n"
    assert auth_file.stat().st_mode & 0o777 == 0o600
    assert cli.ok("login", "--get-login", registry.address) == f"{USER}\n"
    cli.ok("pull", "-q", INSECURE, name)
    assert cli.ok("logout", registry.address) == f"Removed login credentials for {registry.address}\n"
    cli.fails(125, "login", "--get-login", registry.address)
    cli.fails(125, "pull", "-q", INSECURE, name)
    cli.ok("pull", "-q", INSECURE, "--creds", f"{USER}:{PASSWORD}", name)
    assert "invalid username/password" in cli.fails(125, "pull", INSECURE, "--creds", f"{USER}:x", name)


def test_the_token_is_asked_for_with_the_repositorys_scope(
    cli: Cli, token_registry: Registry, token_server: TokenServer, busybox_layout: Path
) -> None:
    name = token_registry.push(busybox_layout, "scope/busybox")
    token_server.asked.clear()
    cli.ok("pull", "-q", INSECURE, "--creds", f"{USER}:{PASSWORD}", name)
    assert [asked["scope"] for asked in token_server.asked] == [["repository:scope/busybox:pull"]]
    assert token_server.asked[0]["service"] == ["registry"]


def test_an_authfile_of_another_tool(cli: Cli, basic_registry: Registry, busybox_layout: Path, tmp_path: Path) -> None:
    name = basic_registry.push(busybox_layout, "authfile/busybox")
    encoded = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    auth_file = tmp_path / "auth.json"
    auth_file.write_text(json.dumps({"auths": {f"{basic_registry.address}/authfile": {"auth": encoded}}}))
    cli.ok("pull", "-q", INSECURE, "--authfile", str(auth_file), name)
    assert "no such file" in cli.fails(125, "pull", INSECURE, "--authfile", "/missing", name)


def test_no_secret_is_printed(cli: Cli, basic_registry: Registry) -> None:
    done = cli.run("pull", INSECURE, "--creds", f"{USER}:sesame-secret", f"{basic_registry.address}/x")
    assert "sesame-secret" not in done.stdout + done.stderr


# Pulls that fail: one line, a hint, nothing left


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("{host}/no/such", "manifest unknown"),
        ("{host}/app:nope", "manifest unknown"),
        ("127.0.0.1:1/app", "connection refused"),
        ("no-such-registry.invalid/app", "no such host"),
        ("{host}/UPPER", "invalid reference format"),
        ("{host}/app@sha256:xyz", "invalid reference format"),
        ("oci:/no/such/directory", "No such file or directory"),
        ("docker-archive:/etc/hostname", "cannot read"),
    ],
)
def test_what_cannot_be_pulled(cli: Cli, fake: FakeRegistry, name: str, words: str) -> None:
    fake.add_image("app", [layer({"f": b"x"})])
    done = cli.run("pull", "-q", INSECURE, name.format(host=fake.host))
    assert (done.returncode, done.stdout) == (125, "")
    assert words in done.stderr
    assert done.stderr.startswith("Error: ")
    assert len(done.stderr.splitlines()) <= 2
    assert cli.parts_of_images() == []


@pytest.mark.parametrize("part", ["layers", "config"])
def test_damaged_images_leave_nothing(cli: Cli, fake: FakeRegistry, part: str) -> None:
    manifest = fake.add_image("app", [layer({"f": os.urandom(50_000)})])
    damaged = manifest["layers"][0] if part == "layers" else manifest["config"]
    fake.script(damaged["digest"], Reply(flip=True), times=9)
    error = cli.fails(125, "pull", "-q", INSECURE, f"{fake.host}/app")
    assert error.startswith("Error: ")
    assert cli.parts_of_images() == []
    assert images(cli) == []


def test_a_pull_that_was_cut_goes_on_where_it_was(cli: Cli, fake: FakeRegistry) -> None:
    tar = layer({"f": os.urandom(3_000_000)})
    manifest = fake.add_image("app", [tar])
    blob = manifest["layers"][0]
    fake.script(blob["digest"], Reply(cut_after=2_000_000))
    fake.script(blob["digest"], Reply(status=503), times=99)
    cli.fails(125, "pull", "-q", INSECURE, f"{fake.host}/app")
    fake._scripted.clear()
    fake.seen.clear()
    cli.ok("pull", "-q", INSECURE, f"{fake.host}/app")
    ranges = [seen.headers.get("range") for seen in fake.requests(blob["digest"])]
    assert ranges == [f"bytes=2000000-{blob['size'] - 1}"]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_killed_pull_leaves_no_process_and_is_resumed(cli: Cli, fake: FakeRegistry, how: signal.Signals) -> None:
    tar = layer({"f": os.urandom(3_000_000)})
    manifest = fake.add_image("app", [tar])
    digest = manifest["layers"][0]["digest"]
    fake.script(digest, Reply(stall_after=1_000_000))
    process = cli.popen("pull", "-q", INSECURE, f"{fake.host}/app")
    part = cli.data / "tmp" / f"sha256-{digest.partition(':')[2]}.part"
    until(lambda: part.exists() and part.stat().st_size == 1_000_000)
    process.send_signal(how)
    process.communicate(timeout=20)
    until(lambda: not is_held(str(part)))  # the downloader's files are for nobody to see, but its lock is
    assert images(cli) == []
    cli.ok("pull", "-q", INSECURE, f"{fake.host}/app")
    assert fake.requests(digest)[-1].headers["range"].startswith("bytes=1000000-")


def test_pulls_side_by_side_fetch_each_blob_once(cli: Cli, fake: FakeRegistry) -> None:
    manifest = fake.add_image("app", [layer({f"f{n}": os.urandom(300_000)}) for n in range(3)])
    processes = [cli.popen("pull", "-q", INSECURE, f"{fake.host}/app") for _ in range(6)]
    for process in processes:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
    for blob in manifest["layers"]:
        assert len(fake.requests(blob["digest"])) == 1
    assert len(images(cli)) == 1


def test_missing_layers_are_unpacked_again_without_the_registry(cli: Cli, fake: FakeRegistry) -> None:
    fake.add_image("app", [layer({"f": b"x"})])
    name = f"{fake.host}/app"
    image = cli.ok("pull", "-q", INSECURE, name).strip()
    (key,) = os.listdir(cli.data / "layers")
    (cli.data / "layers" / key).rename(cli.home / "lost")
    fake.seen.clear()
    for again in (name, image):
        assert cli.ok("pull", "-q", "--policy", "missing", again).strip() == image
        assert os.listdir(cli.data / "layers") == [key]
    assert fake.seen == []


def test_run_pulls_what_is_missing(cli: Cli, registry: Registry, busybox_layout: Path) -> None:
    name = registry.push(busybox_layout, "run/busybox")
    configure(cli, f'[[registry]]\nlocation = "{registry.address}"\ninsecure = true')
    done = cli.run("run", "--rm", "--network", "none", name, "echo", "hi")
    assert (done.returncode, done.stdout) == (0, "hi\n"), done.stderr
    assert f"Trying to pull {name}..." in done.stderr
    done = cli.run("run", "--rm", "--network", "none", "--pull", "never", name, "echo", "hi")
    assert (done.returncode, done.stdout, done.stderr) == (0, "hi\n", "")
    assert "image not known" in cli.fails(125, "run", "--rm", "--pull", "never", f"{name}x", "true")
