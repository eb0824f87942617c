"""config.md, "Linux mount options"."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.support import Box, Mount

FLAGS = {
    "ro": "ro",
    "nosuid": "nosuid",
    "nodev": "nodev",
    "noexec": "noexec",
    "noatime": "noatime",
    "nodiratime": "nodiratime",
    "relatime": "relatime",
}


@pytest.fixture
def tree(box: Box, home: Path) -> Iterator[Path]:
    """A directory with a mount below it, in a mount namespace in which the runtime is called."""
    top = home / "tree"
    (top / "sub").mkdir(parents=True)
    with box.in_mount_namespace(f"mount -t tmpfs none {top}; mkdir {top}/sub; mount -t tmpfs none {top}/sub"):
        yield top


def of(box: Box, destination: str) -> Mount:
    return box.mounts()[destination]


@pytest.mark.parametrize("option", FLAGS)
@pytest.mark.parametrize("kind", ["bind", "tmpfs"])
def test_flag(box: Box, tree: Path, kind: str, option: str) -> None:
    if kind == "bind":
        box.bind(tree, "/data", "bind", option)
    else:
        box.mount("/data", "tmpfs", option)
    assert FLAGS[option] in of(box, "/data").options


def test_strictatime(box: Box) -> None:
    box.mount("/data", "tmpfs", "strictatime")
    assert not {"relatime", "noatime"} & of(box, "/data").options


@pytest.mark.since("nosymfollow")
def test_nosymfollow(box: Box) -> None:
    box.mount("/data", "tmpfs", "nosymfollow")
    assert "nosymfollow" in of(box, "/data").options


@pytest.mark.parametrize("pair", [("ro", "rw"), ("nosuid", "suid"), ("nodev", "dev"), ("noexec", "exec")])
def test_later_option_wins(box: Box, pair: tuple[str, str]) -> None:
    box.mount("/a", "tmpfs", pair[0], pair[1])
    box.mount("/b", "tmpfs", pair[1], pair[0])
    mounts = box.mounts()
    assert pair[0] not in mounts["/a"].options and pair[0] in mounts["/b"].options


@pytest.mark.parametrize(
    "option",
    "async atime defaults diratime lazytime loud nolazytime nomand norelatime nostrictatime silent symfollow".split()
    + ["noiversion"],
)
def test_accepted(box: Box, option: str) -> None:
    box.mount("/data", "tmpfs", option)
    assert "/data" in box.mounts()


@pytest.mark.parametrize("option", ["sync", "dirsync", "lazytime"])
def test_flag_of_the_file_system(box: Box, option: str) -> None:
    box.mount("/data", "tmpfs", option)
    found = of(box, "/data")
    assert option in found.options | found.super_options


def test_readonly_bind_of_a_file(box: Box, home: Path) -> None:
    (home / "file").write_text("mine\n")
    box.bind(home / "file", "/file", "bind", "ro")
    assert "Read-only" in box.sh("cat /file; echo x 2>&1 >/file || true; (echo x >/file) 2>&1 || true")
    assert (home / "file").read_text() == "mine\n"


def test_ro_is_not_recursive(box: Box, tree: Path) -> None:
    box.bind(tree, "/data", "rbind", "ro")
    mounts = box.mounts()
    assert "ro" in mounts["/data"].options and "rw" in mounts["/data/sub"].options


@pytest.mark.since("recursive mount options")
@pytest.mark.parametrize("option", ["rro", "rnosuid", "rnodev", "rnoexec", "rnoatime", "rnosymfollow"])
def test_recursive_flag(box: Box, tree: Path, option: str) -> None:
    box.bind(tree, "/data", "rbind", option)
    mounts = box.mounts()
    assert option[1:] in mounts["/data"].options and option[1:] in mounts["/data/sub"].options


@pytest.mark.since("recursive mount options")
@pytest.mark.parametrize(
    "option",
    "rrw rexec rdev rsuid ratime rrelatime rdiratime rnodiratime rnorelatime rstrictatime rnostrictatime".split()
    + ["rsymfollow"],
)
def test_accepted_recursive_flag(box: Box, tree: Path, option: str) -> None:
    box.bind(tree, "/data", "rbind", option)
    assert "/data/sub" in box.mounts()


def test_remount(box: Box) -> None:
    box.mount("/data", "tmpfs", "size=64k")
    box.mount("/data", "tmpfs", "remount", "ro", "nosuid", "nodev")
    found = of(box, "/data")
    assert {"ro", "nosuid", "nodev"} <= found.options
    assert box.sh("grep -c ' /data ' /proc/self/mountinfo") == "1\n"


def test_tmpfs_options(box: Box) -> None:
    box.mount("/data", "tmpfs", "mode=0751", "size=4096k", "uid=7", "gid=8", "nr_inodes=100")
    out = box.sh("stat -c '%a %u %g %F' /data; cat /proc/self/mountinfo")
    assert out.startswith("751 7 8 directory\n")
    (line,) = (line for line in out.splitlines() if " /data " in line)
    assert "size=4096k" in line and "nr_inodes=100" in line


def test_mode_of_a_tmpfs_by_default(box: Box) -> None:
    box.mount("/data", "tmpfs")
    assert box.output("stat", "-c", "%a", "/data") == "1777\n"


def test_tmpfs_has_the_mode_of_what_it_hides(box: Box) -> None:
    (box.root / "data").mkdir()
    (box.root / "data").chmod(0o2750)
    box.mount("/data", "tmpfs")
    assert box.output("stat", "-c", "%a", "/data") == "2750\n"


def test_option_the_file_system_does_not_know(box: Box) -> None:
    box.mount("/data", "tmpfs", "nonsense=1")
    box.refused()


def test_file_system_the_kernel_does_not_know(box: Box) -> None:
    box.mount("/data", "nonsensefs")
    box.refused()


def test_tmpcopyup(box: Box) -> None:
    directory = box.root / "data"
    (directory / "deep").mkdir(parents=True)
    (directory / "deep" / "file").write_text("copied\n")
    (directory / "link").symlink_to("deep/file")
    (directory / "deep").chmod(0o750)
    box.mount("/data", "tmpfs", "tmpcopyup", "mode=0755")
    out = box.sh("cat /data/link; stat -c %a /data/deep; echo new >/data/new; grep -c ' /data ' /proc/self/mountinfo")
    assert out == "copied\n750\n1\n"
    assert not (directory / "new").exists()


@pytest.mark.parametrize(
    ("option", "field"),
    [
        ("private", ""),
        ("rprivate", ""),
        ("slave", "master"),
        ("rslave", "master"),
        ("shared", "shared"),
        ("rshared", "shared"),
        ("unbindable", "unbindable"),
        ("runbindable", "unbindable"),
    ],
)
def test_propagation(box: Box, home: Path, option: str, field: str) -> None:
    top = home / "tree"
    top.mkdir()
    with box.in_mount_namespace(f"mount -t tmpfs none {top}; mkdir {top}/sub; mount --make-shared {top}"):
        box.linux["rootfsPropagation"] = "rshared" if field == "shared" else "rslave"  # as podman does
        box.bind(top, "/data", "rbind", option)
        fields = {name.partition(":")[0] for name in of(box, "/data").fields}
    # What is a slave in a foreign user namespace stays one, so a shared mount there may be both.
    assert fields - {"master", "propagate_from"} == {field} - {"", "master"}
    assert field != "master" or "master" in fields


def test_slave_sees_what_the_host_mounts_later(box: Box, home: Path) -> None:
    top = home / "tree"
    top.mkdir()
    script = f"mount -t tmpfs none {top}; mkdir {top}/sub; mount --make-shared {top}"
    with box.in_mount_namespace(script) as outside:
        box.linux["rootfsPropagation"] = "rslave"
        box.bind(top, "/slave", "rbind", "rslave")
        box.bind(top, "/private", "rbind", "rprivate")
        box.sleep()
        outside(f"mount -t tmpfs none {top}/sub && touch {top}/sub/late")
        assert box.executed("ls", "/slave/sub") == "late\n"
        assert box.executed("ls", "/private/sub") == ""
