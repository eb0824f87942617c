"""What an image may and may not do to the container that is made of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cli import Cli, new_cli
from tests.support.images import Layout, busybox_tar, directory, file, symlink, tar_of

pytestmark = pytest.mark.needs("userns", "subuid", "newuidmap", "busybox")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    """A store with the images ``proper`` and ``hostile``."""
    target = tmp_path_factory.mktemp("layout")
    canary = tmp_path_factory.mktemp("canary")
    (canary / "file").write_text("of the host")
    layout = Layout(target)
    base = layout.add_layer(busybox_tar())
    data = layout.add_layer(tar_of([directory("data", uid=1000, gid=1000), file("data/file", b"of the image\n")]))
    links = [symlink("a", str(canary)), symlink("etc/hosts", f"{canary}/file"), symlink("etc/resolv.conf", "/a/new")]
    hostile = layout.add_layer(tar_of([*links, symlink("v", str(canary)), symlink("fd", "/proc/self/fd")]))
    layout.add_image("proper", [base, data], {
        "Entrypoint": ["sh", "-c"], "Cmd": ["id -un; pwd; ls /data"], "User": "user", "WorkingDir": "/made/here",
        "Volumes": {"/data": {}}, "Env": ["A=image", "B=image"], "StopSignal": "SIGUSR1",
        "ExposedPorts": {"80/tcp": {}, "junk": {}}, "Labels": {"a": "b"},
    })  # fmt: skip
    layout.add_image("hostile", [base, hostile], {
        "Cmd": ["env"], "Env": ["HOSTSECRET", "X*", "=a", "A"], "WorkingDir": "/a/b/c",
        "Volumes": {"/../../v/x": {}, "relative": {}},
        "Labels": {"org.systemd.property.X": "y", "io.podman.annotations.privileged": "TRUE"},
    })  # fmt: skip
    with new_cli() as cli:
        cli.environment["CANARY"] = str(canary)
        for name in ("proper", "hostile"):
            image = cli.ok("pull", "-q", f"oci:{target}:{name}").strip()
            cli.ok("tag", image, f"localhost/{name}")
        yield cli


def run(cli: Cli, *arguments: str) -> str:
    return cli.ok("run", "--rm", "--network=none", *arguments)


def test_configuration_is_used(made: Cli) -> None:
    assert run(made, "localhost/proper").split() == ["user", "/made/here", "file"]
    assert run(made, "localhost/proper", "echo $A $B").split() == ["image", "image"]
    script = "echo $A; touch /data/x && stat -c %u /data"
    assert run(made, "-e", "A=mine", "localhost/proper", script).split() == ["mine", "1000"]
    script = "grep -c ' /data ' /proc/mounts || true"
    assert run(made, "--image-volume=ignore", "localhost/proper", script).strip() == "0"
    assert "tmpfs /data" in run(made, "--image-volume=tmpfs", "localhost/proper", "cat /proc/mounts; ls /data")
    assert made.ok("volume", "ls", "-q") == ""


def test_hostile_configuration(made: Cli) -> None:
    canary = Path(made.environment["CANARY"])
    before = sorted((path.name, path.read_text()) for path in canary.iterdir())
    done = made.run("run", "--rm", "--network=none", "localhost/hostile", env={"HOSTSECRET": "s", "X1": "s", "A": "s"})
    assert "HOSTSECRET" not in done.stdout and "X1" not in done.stdout and "A=s" not in done.stdout
    assert run(made, "-w", "/", "localhost/hostile", "sh", "-c", "echo x > /v/x/made; cat /etc/hosts") is not None
    assert sorted((path.name, path.read_text()) for path in canary.iterdir()) == before
    assert os.listdir(canary) == ["file"]
    made.fails(125, "run", "--rm", "--network=none", "-w", "/proc/self/fd/4", "localhost/hostile", "true")
    for number in range(3, 12):
        done = made.run("run", "--rm", "--network=none", "-w", f"/fd/{number}", "localhost/hostile", "pwd")
        assert done.returncode in (125, 126, 127), done.stdout
