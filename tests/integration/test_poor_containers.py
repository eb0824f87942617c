"""The program inside containers of other engines, in a chroot, and where user namespaces are forbidden."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import of_podman, poor
from tests.support.cli import CHECKOUT, Cli
from tests.support.of_podman import Outer
from tests.support.poor import IMAGE, PROBE, PoorCli, poor_cli

pytestmark = pytest.mark.needs("userns", "busybox")
in_podman = pytest.mark.needs("podman", "conmon", "subuid", "newuidmap", "overlay", "seccomp")

DOCKER = CHECKOUT / "rootless" / "security" / "profiles" / "default.json"
"""A filter as Docker's: nobody without CAP_SYS_ADMIN makes namespaces or mounts."""
PULL = "image=$(rootless pull -q oci:/layout:latest) || exit 9\n"
LOOK = "cat /srv/second-layer; id -u; ls /sys/class/net"


@pytest.fixture(scope="module")
def outer(busybox_layout: Path) -> Iterator[Outer]:
    with of_podman.outer(busybox_layout) as made:
        yield made


@in_podman
def test_in_a_container_of_podman(outer: Outer) -> None:
    """Its /proc is masked, so that no procfs can be mounted: the error names both ways out, and one is open here."""
    code, output = outer.run(f"{PULL}rootless run --rm --network none $image {LOOK.partition(';')[0]}")
    assert code == 125 and "parts of the caller's own /proc are hidden" in output
    assert "unmask=ALL" in output and "--pid=host" in output
    code, output = outer.run(f"{PULL}rootless run --rm --pid=host $image sh -c '{LOOK}'")
    assert code == 0 and output.split()[-3:] == ["second", "0", "lo"], output
    assert "The container has no way to the network: /dev/net/tun cannot be opened" in output
    code, output = outer.run("rootless run --rm --pid=host -u 33:33 --network none $(rootless images -q) id -u")
    assert (code, output) == (0, "33\n")


@in_podman
def test_what_it_says_there(outer: Outer) -> None:
    """doctor advises whoever starts the outer container; info and inspect tell the same as each other."""
    code, output = outer.run("rootless doctor --json")
    checks = {check["Name"]: check for check in json.loads(output)}
    assert code == 0 and checks["procfs"]["State"] == "less"
    assert checks["procfs"]["Hint"] == "start the container that this is in with --security-opt unmask=ALL"
    assert checks["tun"]["Hint"] == "start the container that this is in with --device /dev/net/tun"
    script = """
        rootless create --name one --pid=host $image true >/dev/null 2>&1
        rootless start one >/dev/null; rootless info --format '{{json .Isolation}}'
        rootless inspect one --format '{{json .Isolation}}'; rootless rm one >/dev/null
    """
    code, output = outer.run(PULL + script)
    expected, got = (json.loads(line) for line in output.splitlines() if line.startswith("{"))
    for key in ("UserIDs", "RootFS", "Network", "Seccomp", "LSM"):
        assert expected[key] == got[key]
    assert got["UserIDs"]["Has"] == ["ids", "ids.range"] and not got["UserIDs"]["Less"]
    assert "container that this is in" in got["UserIDs"]["Got"]
    assert got["Network"]["Less"] and "/dev/net/tun" in got["Network"]["Why"]


@in_podman
@pytest.mark.needs("tun")
def test_the_advice_followed(outer: Outer) -> None:
    """With /proc unmasked a container has its own; with the devices and no filter it has a network, and exec works."""
    run = f"{PULL}rootless run --rm --network none $image sh -c '{LOOK}'"
    code, output = outer.run(run, "--security-opt=unmask=ALL")
    assert code == 0 and output.split()[-3:] == ["second", "0", "lo"], output
    flags = ("--security-opt=unmask=ALL", "--device=/dev/net/tun")
    code, output = outer.run(f"{PULL}rootless run --rm $image sh -c '{LOOK}'", *flags)
    assert code == 0 and "a system call filter forbids to enter namespaces" in output, output
    script = f"""{PULL}
        rootless run -d --name one $image sleep 100 >/dev/null && rootless exec one sh -c '{LOOK}'
        rootless rm -f -t 0 one >/dev/null
    """
    code, output = outer.run(script, *flags, "--security-opt=seccomp=unconfined")
    assert code == 0 and output.split()[:2] == ["second", "0"] and "tap0" in output or "eth0" in output, output


@in_podman
def test_as_an_ordinary_user_of_that_container(outer: Outer) -> None:
    """One id, no newuidmap with power, no runtime directory."""
    script = f"""
        export HOME=/tmp XDG_RUNTIME_DIR=
        {PULL}
        rootless info --format '{{{{.Isolation.UserIDs.Got}}}}'
        rootless run --rm --network none $image cat /srv/second-layer /proc/self/uid_map
    """
    code, output = outer.run(script, "--user=1234", "--security-opt=unmask=ALL")
    assert code == 0 and output.startswith("one user id\nsecond\n"), output
    assert output.split()[-3:] == ["0", "1234", "1"]


@in_podman
def test_under_a_filter_of_docker_s_kind(outer: Outer) -> None:
    """No namespaces at all: the flag of the outer container that opens them is told, by run and by doctor."""
    flag = f"--security-opt=seccomp={DOCKER}"
    code, output = outer.run("rootless run --rm --network none oci:/layout:latest true", flag)
    assert code == 125 and "cannot make a user namespace" in output and "seccomp=unconfined" in output, output
    code, output = outer.run("rootless doctor --json", flag)
    checks = {check["Name"]: check for check in json.loads(output)}
    assert code == 125 and checks["user namespace"]["State"] == "BROKEN"
    assert "system call filter" in checks["user namespace"]["Hint"]
    assert "seccomp=unconfined" in checks["user namespace"]["Hint"]


@pytest.fixture
def cli(busybox_layout: Path) -> Iterator[PoorCli]:
    with poor_cli(busybox_layout) as made:
        yield made


FORBIDDEN = (
    "unshare", "--user", "--map-current-user", "--keep-caps", "--mount", "sh", "-c",
    '{ test -z "$OPEN" || sysctl -q "$OPEN"; } && exec setpriv --ambient-caps=-all --inh-caps=-all "$@"', "sh",
)  # fmt: skip


def test_where_user_namespaces_are_forbidden(cli: PoorCli) -> None:
    """The command that doctor and run print is the one that opens them."""
    cli.prefix = list(FORBIDDEN)
    cli.environment["OPEN"] = "user.max_user_namespaces=0"
    error = cli.fails(125, *PROBE)
    assert "cannot make a user namespace" in error and "hint: run as root: sysctl user.max_user_namespaces=" in error
    command = cli.doctor(125)["user namespace"]["Command"]
    assert command.startswith("sudo sysctl user.max_user_namespaces=") and command.split()[-1] in error
    cli.environment["OPEN"] = command.split()[-1]
    assert cli.doctor()["user namespace"]["State"] == "OK"
    assert cli.ok(*PROBE) == "second\n"


def jail(path: Path) -> str:
    """A shell script that makes ``path`` a root directory of the machine's own files, which is no mount itself."""
    steps = ["set -e"]
    for name in sorted(os.listdir("/")):
        source, target = Path("/", name), path / name
        if source.is_symlink():
            path.mkdir(exist_ok=True)
            target.symlink_to(os.readlink(source))
        elif source.is_dir():
            target.mkdir(parents=True)
            steps.append(f"mount --rbind /{name} {target}")
    return "\n".join(steps)


def test_in_a_chroot(cli: PoorCli) -> None:
    """The kernel makes no user namespaces there: that is said, and not that a setting is in the way."""
    script = jail(cli.home.parent / f"{cli.home.name}-jail")
    try:
        where = f"{cli.home}-jail"
        script += f'\nexec chroot {where} setpriv --ambient-caps=-all --inh-caps=-all "$@"'
        cli.prefix = ["unshare", "--user", "--map-current-user", "--keep-caps", "--mount", "sh", "-c", script, "sh"]
        error = cli.fails(125, *PROBE)
        assert "cannot make a user namespace" in error and "hint: this is a chroot" in error
        assert "chroot" in cli.doctor(125)["user namespace"]["Hint"]
    finally:
        for entry in Path(where).iterdir():
            entry.unlink() if entry.is_symlink() else entry.rmdir()
        Path(where).rmdir()


def test_where_namespaces_cannot_be_entered(cli: PoorCli, tmp_path: Path) -> None:
    """A filter takes the network's helper away, and says so; exec is refused in words."""
    cli.prefix = poor.forbidding(tmp_path, setns=1)
    done = cli.run("run", "--rm", IMAGE, "echo", "ran")
    assert (done.returncode, done.stdout) == (0, "ran\n") and "filter forbids to enter namespaces" in done.stderr
    assert cli.expected()["Network"]["Has"] == ["network.private"]
    cli.ok("run", "-d", "--name", "one", "--network", "none", IMAGE, "sleep", "100")
    error = cli.fails(125, "exec", "one", "true")
    assert "cannot join the container" in error and "hint: where a system call filter forbids it" in error
    cli.ok("rm", "-f", "-t", "0", "one")


def test_inside_our_own(cli: Cli, busybox_layout: Path) -> None:
    """By default nothing is opened in a container of this program; the error names the flag (--nested)."""
    python = Path(sys.executable)
    words = f"PYTHONPATH={CHECKOUT} HOME=/tmp {python} -m rootless run --rm oci:/layout:latest true"
    flags = ("--network", "none", "--tmpfs", "/tmp", "-v", f"{busybox_layout}:/layout:ro")
    done = cli.run("run", "--rm", *flags, "--rootfs", "/:O", "sh", "-c", words)
    assert done.returncode == 125 and "cannot make a user namespace" in done.stderr and "--nested" in done.stderr
