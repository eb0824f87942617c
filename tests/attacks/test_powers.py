"""Who the program of a container is: its capabilities and its groups, however it is started."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rootless.security import capabilities
from tests.support import images
from tests.support.cli import Cli, new_cli

pytestmark = pytest.mark.needs("userns", "subuid", "newuidmap", "busybox")
IMAGE = "localhost/busybox"
STATUS = ("grep", "-E", "Cap|Groups|NoNew", "/proc/self/status")
NET_RAW = capabilities.mask(["CAP_NET_RAW"])


def powers(output: str) -> dict[str, int]:
    """{CapInh: bits, …} of the lines of /proc/PID/status."""
    pairs = (line.split(":") for line in output.splitlines() if line.startswith("Cap"))
    return {name: int(bits, 16) for name, bits in pairs}


@pytest.fixture
def running(shared_cli: Cli) -> Iterator[str]:
    """A container that runs."""
    name = shared_cli.ok("run", "-d", "--network", "none", IMAGE, "sleep", "100").strip()
    yield name
    shared_cli.ok("rm", "-f", "-t", "0", name)


@pytest.mark.parametrize(
    "flags",
    ["", "--cap-add net_raw", "--cap-drop all", "-u 1000", "-u user --cap-drop all", "--privileged",
     "--privileged -u 1000", "--hardened", "--hardened -u 1000", "--nested", "--init", "--userns keep-id"],
)  # fmt: skip
def test_nothing_is_inheritable_row_57(shared_cli: Cli, flags: str) -> None:
    """security row 57: the inheritable and the ambient sets are empty, and nothing is beyond the bounding set."""
    found = powers(shared_cli.ok("run", "--rm", "--network", "none", *flags.split(), IMAGE, *STATUS))
    assert (found["CapInh"], found["CapAmb"]) == (0, 0)
    assert found["CapEff"] == found["CapPrm"] and not found["CapPrm"] & ~found["CapBnd"]
    if "-u" in flags or "keep-id" in flags:
        assert found["CapPrm"] == 0


def test_what_a_user_is_given_by_name_row_57(shared_cli: Cli) -> None:
    """security row 57: --cap-add for another user than root is ambient, as with podman, and only that is."""
    run = ("run", "--rm", "--network", "none", "-u", "1000", "--cap-add", "net_raw", IMAGE)
    found = powers(shared_cli.ok(*run, *STATUS))
    assert found["CapAmb"] == found["CapInh"] == found["CapEff"] == NET_RAW


@pytest.mark.parametrize("flags", ["", "--privileged", "-u 1000", "-u user", "--privileged -u 1000"])
def test_nothing_is_inheritable_in_what_joins_row_57(shared_cli: Cli, running: str, flags: str) -> None:
    """security row 57: the same for exec."""
    found = powers(shared_cli.ok("exec", *flags.split(), running, *STATUS))
    assert (found["CapInh"], found["CapAmb"]) == (0, 0)
    assert not found["CapPrm"] & ~found["CapBnd"]


@pytest.fixture(scope="module")
def grouped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    """The program with an image whose user is in three more groups, and with files for groups alone."""
    layout = images.Layout(tmp_path_factory.mktemp("grouped") / "layout")
    group = b"root:x:0:\nuser:x:1000:\none:x:2001:user\ntwo:x:2002:root,user\nthree:x:2003:user\nother:x:2004:root\n"
    files = [images.file(f"for-{number}", b"read\n", 0o040, 0, number) for number in (2001, 2004)]
    second = images.tar_of([images.file("etc/group", group), *files])
    layout.add_image("latest", [layout.add_layer(images.busybox_tar()), layout.add_layer(second)], {"Cmd": ["sh"]})
    with new_cli() as cli:
        cli.ok("tag", cli.ok("pull", "--quiet", f"oci:{layout.directory}:latest").strip(), "localhost/grouped:latest")
        yield cli


SCRIPT = "grep Groups /proc/self/status; id -g; cat /for-2001; cat /for-2004; test -r /host/file && cat /host/file"


def check_groups(cli: Cli, volume: Path, options: str, expected: set[str], *, kept: bool = False) -> None:
    """Run and exec as the image's user; the groups must be ``expected``, and decide what is read."""
    run = ("run", "-d", "--network", "none", "-u", "user", "-v", f"{volume}:/host", *options.split())
    name = cli.ok(*run, "localhost/grouped", "sh", "-c", f"{SCRIPT}; sleep 100").strip()
    try:
        joined = cli.run("exec", name, "sh", "-c", SCRIPT).stdout
        while "Groups" not in (started := cli.ok("logs", name)) or "1000" not in started:
            pass
        for output in (started, joined):
            lines = output.splitlines()
            assert set(lines[0].split()[1:]) == expected, output
            assert lines[1] == "1000"
            # The one file whose group is the user's, and the host's with the caller's groups alone.
            assert lines.count("read") == (2 if "2004" in expected else 1)
            assert ("host" in lines) == kept
    finally:
        cli.ok("rm", "-f", "-t", "0", name)


def test_groups_are_the_images_row_58(grouped: Cli, tmp_path: Path) -> None:
    """security row 58: exactly those of the image and those of --group-add, by name or number."""
    (tmp_path / "file").write_text("host\n")
    (tmp_path / "file").chmod(0)
    check_groups(grouped, tmp_path, "", {"1000", "2001", "2002", "2003"})
    check_groups(grouped, tmp_path, "--group-add other --group-add 77", {"77", "1000", "2001", "2002", "2003", "2004"})
