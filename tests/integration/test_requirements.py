"""``--require`` and ``--strict``: who would get less than is asked for is refused before anything is made."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from rootless.engine.isolation import NAMES
from tests.support import hosts
from tests.support.delegation import delegated
from tests.support.poor import IMAGE, RUN, PoorCli, poor_cli

pytestmark = pytest.mark.needs("userns", "busybox")


@pytest.fixture(scope="module")
def _made(busybox_layout: Path) -> Iterator[PoorCli]:
    with poor_cli(busybox_layout) as made:
        yield made


@pytest.fixture
def cli(_made: PoorCli) -> Iterator[PoorCli]:
    """The program with an image, on this machine; it is left as it was found."""
    yield _made
    _made.prefix = []
    assert _made.ok("ps", "-aq") == ""


def settings(cli: PoorCli, text: str) -> Path:
    """Write ``rootless.conf``."""
    path = cli.home / "config" / "rootless" / "rootless.conf"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def test_a_name_that_there_is_not(cli: PoorCli) -> None:
    """The names are told; the image is not even looked for."""
    error = cli.fails(125, "run", "--require", "cgroup,nonsense", "localhost/none", "true")
    assert "'nonsense'" in error and all(name in error for name in NAMES)


def test_what_is_there_can_be_required(cli: PoorCli) -> None:
    """info says what is; all of it at once, and each that is not."""
    has = {name for line in cli.expected().values() for name in line["Has"]}
    assert "seccomp" in has and has <= set(NAMES)
    found = cli.got("--require", ",".join(sorted(has)))
    assert {name for line in found.values() for name in line["Has"]} == has
    for name in sorted(set(NAMES) - has):
        error = cli.fails(125, "create", "--pull", "never", "--require", "seccomp", "--require", name, IMAGE, "true")
        assert name in error and "hint: " in error, error


@pytest.mark.parametrize(
    ("flags", "name"),
    [
        (("--security-opt", "seccomp=unconfined"), "seccomp"), (("--privileged",), "seccomp"),
        (("--network", "host"), "network.private"), (("--network", "none"), "network.connected"),
        (("--cgroups", "disabled"), "cgroup"), (("--userns", "nomap"), "lsm"),
    ],
)  # fmt: skip
def test_against_what_is_asked_for(cli: PoorCli, flags: tuple[str, ...], name: str) -> None:
    """A requirement counts, whoever takes the thing away."""
    if name == "lsm" and "lsm" in cli.expected()["LSM"]["Has"]:
        pytest.skip("needs a machine without a security module for containers")
    error = cli.fails(125, "run", "--rm", *flags, "--require", name, IMAGE, "true")
    assert f"without {name}, which --require asks for" in error


def test_strict(cli: PoorCli) -> None:
    """The first line with less is told; what the user himself asks for is no less."""
    less = [key for key, line in cli.expected().items() if line["Less"]]
    flags = () if "Cgroup" not in less else ("--cgroups", "disabled")
    if less:
        error = cli.fails(125, "run", "--rm", "--strict", "--pull", "never", "localhost/none", "true")
        assert f"--strict allows ({less[0]})" in error and "hint: " in error
    if set(less) <= {"Cgroup"}:
        assert cli.ok("run", "--rm", "--strict", *flags, IMAGE, "echo", "ran") == "ran\n"


def test_strict_on_a_poor_host(cli: PoorCli) -> None:
    cli.prefix = hosts.prefix(cli.home / "host", files={"/etc/subuid": "", "/etc/subgid": ""})
    error = cli.fails(125, *RUN, "--strict", "--cgroups", "disabled", IMAGE, "true")
    assert "(UserIDs): it would get one user id" in error and "hint: sudo usermod" in error


def test_settings(cli: PoorCli) -> None:
    """rootless.conf has both; the command line adds names, and may take strictness back."""
    path = settings(cli, 'require = ["network.private"]\n')
    try:
        assert "network.private" in cli.fails(125, "run", "--rm", "--network", "host", IMAGE, "true")
        alone = ("--uidmap", "0:0:1", "--gidmap", "0:0:1")
        assert "ids.range" in cli.fails(125, *RUN, *alone, "--require", "ids.range", IMAGE)
        assert cli.ok(*RUN, IMAGE, "echo", "ran") == "ran\n"
        settings(cli, "strict = true\n")
        cli.prefix = hosts.prefix(cli.home / "host", without=["/dev/net/tun"])
        assert "--strict" in cli.fails(125, "run", "--rm", IMAGE, "true")
        assert cli.ok("run", "--rm", "--strict=false", IMAGE, "echo", "ran") == "ran\n"
        for text in ('strict = "yes"\n', 'require = "seccomp"\n', "require = [1]\n"):
            settings(cli, text)
            error = cli.fails(125, *RUN, IMAGE, "true")
            assert "cannot use" in error and str(path) in error and "hint: " in error
    finally:
        path.unlink()


@pytest.mark.needs("tun", "slirp4netns")
def test_a_later_start(cli: PoorCli) -> None:
    """A container that was made where there was more is not started where there is less."""
    cli.ok("create", "--name", "later", "--require", "network.connected", IMAGE, "echo", "ran")
    try:
        assert cli.ok("start", "-a", "later") == "ran\n"
        cli.prefix = hosts.prefix(cli.home / "host", without=["/dev/net/tun"])
        error = cli.fails(125, "start", "-a", "later")
        assert "network.connected" in error and "/dev/net/tun" in error
        cli.prefix = []
        assert cli.ok("start", "-a", "later") == "ran\n"
    finally:
        cli.ok("rm", "later")


@pytest.mark.as_root
def test_control_groups(busybox_layout: Path) -> None:
    """In a delegated tree: what is there is in the container's group, what is not is refused."""
    with delegated() as cli:
        copy = cli.home / "layout"
        shutil.copytree(busybox_layout, copy)
        subprocess.run(["chown", "-R", f"{cli.user}:", str(copy)], check=True)
        cli.ok("tag", cli.ok("pull", "--quiet", f"oci:{copy}:latest").strip(), IMAGE)
        shown = cli.ok("info", "--format", "{{range .Isolation.Cgroup.Has}}{{.}} {{end}}").split()
        assert "cgroup" in shown
        cli.ok("run", "-d", "--name", "one", "--network", "none", "--require", ",".join(shown), IMAGE, "sleep", "100")
        got = cli.ok("inspect", "--format", "{{range .Isolation.Cgroup.Has}}{{.}} {{end}}", "one").split()
        assert set(shown) <= set(got)
        cli.ok("rm", "-f", "-t", "0", "one")
        for name in [name for name in NAMES if name.startswith("cgroup") and name not in shown]:
            error = cli.fails(125, "run", "--rm", "--network", "none", "--require", name, IMAGE, "true")
            assert f"without {name}" in error and "hint: " in error
        error = cli.fails(125, "--cgroup-manager", "disabled", *RUN, "--require", "cgroup", IMAGE, "true")
        assert "--cgroup-manager=disabled" in error
