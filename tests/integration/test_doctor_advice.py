"""The commands that `doctor` prints are typed, as the administrator would: afterwards there is what was missing."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support import images
from tests.support.cli import Cli, new_cli
from tests.support.poor import IMAGE, PROBE

pytestmark = [pytest.mark.as_root, pytest.mark.needs("userns", "busybox")]

NAME, NUMBER = "advised", 54399
_MACHINE = """
mount -t tmpfs none $1; mkdir $1/upper $1/work $1/dev $1/dev/net $1/dev/shm $1/dev/pts
mount -t overlay none -o lowerdir=/etc,upperdir=$1/upper,workdir=$1/work /etc
for name in null zero full random urandom tty; do touch $1/dev/$name; mount --bind /dev/$name $1/dev/$name; done
mount --rbind /dev/pts $1/dev/pts; chmod 1777 $1/dev/shm; ln -s pts/ptmx $1/dev/ptmx; ln -s /proc/self/fd $1/dev/fd
mknod -m 600 $1/dev/fuse c 10 229; mknod -m 600 $1/dev/net/tun c 10 200
mount --rbind $1/dev /dev
useradd --no-create-home --uid $3 $2
sed -i "/^$2:/d" /etc/subuid /etc/subgid
echo ready
read -r _ || exit 0
"""


class Machine(Cli):
    """The program of somebody new on a machine whose /etc and /dev are the test's own; ``before``: what enters it."""

    def __init__(self, home: Path, before: list[str]) -> None:
        super().__init__(home)
        self.before = before

    def command(self, *arguments: str) -> list[str]:
        """See :class:`Cli`."""
        identity = ["env", "--chdir=/", "setpriv", f"--reuid={NUMBER}", f"--regid={NUMBER}", "--clear-groups"]
        return [*self.before, *identity, *super().command(*arguments)]

    def administrator(self, command: str) -> None:
        """Type a command of doctor's as root."""
        assert command.startswith("sudo ")
        words = [*self.before, "sh", "-c", command.replace("sudo ", "")]
        subprocess.run(words, stderr=subprocess.DEVNULL, check=True, timeout=60)

    def check(self, name: str) -> dict[str, str]:
        """One check of doctor's."""
        checks = json.loads(self.run("doctor", "--json").stdout)
        found: dict[str, str] = next(check for check in checks if check["Name"] == name)
        return found

    def isolation(self, key: str) -> dict[str, object]:
        """What a container would get."""
        found: dict[str, object] = json.loads(self.ok("info", "--format", "json"))["Isolation"][key]
        return found


@contextmanager
def _machine() -> Iterator[Machine]:
    with new_cli() as made, tempfile.TemporaryDirectory(dir="/var/tmp") as scratch:
        words = ["unshare", "--mount", "--propagation", "private", "sh", "-ec", _MACHINE, "sh"]
        words += [scratch, NAME, str(NUMBER)]
        holder = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            assert holder.stdout and holder.stdout.readline() == "ready\n"
            cli = Machine(made.home, ["nsenter", "--target", str(holder.pid), "--mount", "--"])
            images.busybox_layout(made.home / "layout")
            subprocess.run(["chown", "-R", f"{NUMBER}:{NUMBER}", str(made.home)], check=True)
            cli.ok("tag", cli.ok("pull", "--quiet", f"oci:{made.home}/layout:latest").strip(), IMAGE)
            yield cli
        finally:
            holder.communicate(timeout=60)


@pytest.fixture
def machine() -> Iterator[Machine]:
    with _machine() as made:
        yield made


def test_subordinate_ids(machine: Machine) -> None:
    """One user before, with the owners of the image remembered; 65,536 more afterwards."""
    check = machine.check("subordinate ids")
    assert check["State"] == "less" and "single user" in check["Cost"]
    assert machine.ok(*PROBE) == "second\n"
    assert "hint: sudo usermod" in machine.fails(125, "run", "--rm", "--require", "ids.range", IMAGE, "true")
    machine.administrator(check["Command"])
    assert machine.check("subordinate ids")["State"] == "OK"
    assert machine.isolation("UserIDs")["Less"] is False
    run = ("run", "--rm", "--network", "none", "--require", "ids.range", IMAGE)
    assert machine.ok(*run, "stat", "-c", "%u", "/home/user/file") == "1000\n"


@pytest.mark.needs("slirp4netns")
def test_tun(machine: Machine) -> None:
    """No way out before; afterwards the container has an interface."""
    check = machine.check("tun")
    assert check["State"] == "less" and "Permission denied" in check["Found"] and "way out" in check["Cost"]
    assert machine.isolation("Network")["Less"] is True
    assert machine.ok("run", "--rm", IMAGE, "ls", "/sys/class/net") == "lo\n"
    machine.administrator(check["Command"])
    assert machine.check("tun")["State"] == "OK"
    shown = machine.ok("run", "--rm", "--require", "network.connected", IMAGE, "ls", "/sys/class/net")
    assert len(shown.split()) == 2


@pytest.mark.needs("fuse-overlayfs")
def test_fuse(machine: Machine) -> None:
    """Refused by its name before; afterwards it makes the root file system."""
    error = machine.fails(125, "--storage-driver", "fuse-overlayfs", *PROBE)
    assert "/dev/fuse cannot be opened" in error
    found = machine.check("fuse")["Found"]
    assert "/dev/fuse cannot be opened: Permission denied" in found
    machine.administrator("sudo modprobe fuse; sudo chmod 666 /dev/fuse")
    assert "/dev/fuse opens" in machine.check("fuse")["Found"]
    assert machine.ok("--storage-driver", "fuse-overlayfs", *PROBE) == "second\n"
