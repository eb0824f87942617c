"""config.md, "Mounts": order, sources, destinations."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.conformance.support import Box


@pytest.fixture
def data(home: Path) -> Path:
    """A directory of the host with a file."""
    made = home / "data"
    made.mkdir(mode=0o755)
    (made / "file").write_text("of the host\n")
    return made


def test_bind_of_a_directory(box: Box, data: Path) -> None:
    box.bind(data, "/data")
    assert box.sh("cat /data/file; echo back >/data/new") == "of the host\n"
    assert (data / "new").read_text() == "back\n"


def test_bind_of_a_file(box: Box, data: Path) -> None:
    box.bind(data / "file", "/etc/new/file", "bind")
    assert box.output("cat", "/etc/new/file") == "of the host\n"


def test_bind_of_a_file_over_a_file(box: Box, data: Path) -> None:
    box.bind(data / "file", "/etc/passwd", "bind", "ro")
    assert "of the host" in box.sh("cat /etc/passwd; ! echo x >/etc/passwd")
    assert "root" in (box.root / "etc/passwd").read_text()


def test_bind_options_make_a_bind_whatever_the_type(box: Box, data: Path) -> None:
    box.mount("/a", "none", "bind", source=data)
    box.mount("/b", "anything", "rbind", source=data)
    del box.config["mounts"][-1]["type"]
    assert box.sh("cat /a/file /b/file") == "of the host\n" * 2


def test_source_relative_to_the_bundle(box: Box) -> None:
    (box.bundle / "data").write_text("of the bundle\n")
    box.bind("data", "/data", "bind")
    assert box.output("cat", "/data") == "of the bundle\n"


def test_source_is_a_symlink_of_the_host(box: Box, data: Path, home: Path) -> None:
    (home / "link").symlink_to(data)
    box.bind(home / "link", "/data")
    assert box.output("cat", "/data/file") == "of the host\n"


def test_missing_source(box: Box) -> None:
    box.bind("/nowhere", "/data")
    box.refused()


def test_bind_of_a_directory_over_a_file(box: Box, data: Path) -> None:
    box.bind(data, "/etc/passwd")
    box.refused()


def test_destination_is_made(box: Box, data: Path) -> None:
    box.bind(data, "/new/deep/data")
    assert box.output("cat", "/new/deep/data/file") == "of the host\n"


def test_relative_destination_counts_from_the_root(box: Box, data: Path) -> None:
    box.bind(data, "data")
    assert box.output("cat", "/data/file") == "of the host\n"


def test_order(box: Box, data: Path) -> None:
    box.mount("/m", "tmpfs")
    box.bind(data, "/m/inner")
    box.bind(data, "/hidden/inner")
    box.mount("/hidden", "tmpfs")
    assert box.sh("cat /m/inner/file; ls /hidden | wc -l") == "of the host\n0\n"


def test_mount_over_a_mount(box: Box, data: Path, home: Path) -> None:
    (home / "later").mkdir()
    box.bind(data, "/data")
    box.bind(home / "later", "/data")
    assert box.output("ls", "/data") == ""


def test_destination_through_a_relative_link(box: Box, data: Path) -> None:
    (box.root / "real").mkdir()
    (box.root / "link").symlink_to("real")
    box.bind(data, "/link/data")
    assert box.output("cat", "/real/data/file") == "of the host\n"


@pytest.mark.parametrize("target", ["/outside", "../../../../../outside"])
def test_destination_through_a_link_stays_inside(box: Box, data: Path, target: str) -> None:
    (box.root / "link").symlink_to(target)
    (box.root / "outside").mkdir()
    box.bind(data, "/link/data")
    done = box.run()
    assert not os.path.exists("/outside") and not (box.home.parent / "outside").exists()
    assert done.code == 0, done.err
    assert box.output("cat", "/outside/data/file") == "of the host\n"


def test_destination_is_a_link(box: Box, data: Path) -> None:
    (box.root / "real").mkdir()
    (box.root / "link").symlink_to("/real")
    box.bind(data, "/link")
    assert box.output("cat", "/real/file") == "of the host\n"


def test_destination_in_a_link_to_proc_of_the_root(box: Box, data: Path) -> None:
    (box.root / "link").symlink_to("/proc/self/root")
    box.bind(data, "/link/data")
    box.run()
    assert not Path("/data").exists()


def tree(home: Path) -> tuple[Path, str]:
    """A directory, and a script that mounts a tmpfs with a mark below it."""
    top = home / "tree"
    (top / "sub").mkdir(parents=True)
    return top, f"mount -t tmpfs none {top}/sub && echo below >{top}/sub/mark"


def test_bind_and_rbind(box: Box, home: Path) -> None:
    top, script = tree(home)
    with box.in_mount_namespace(script):
        box.bind(top, "/plain", "bind")
        box.bind(top, "/whole", "rbind")
        out = box.sh("ls /whole/sub; ls /plain/sub", code=0)
    assert out == "mark\n"


def test_host_mounts_are_not_inherited(box: Box, home: Path) -> None:
    top, script = tree(home)
    with box.in_mount_namespace(script):
        assert str(top) not in box.output("cat", "/proc/self/mountinfo")


def test_nothing_is_mounted_without_mounts(box: Box) -> None:
    box.config["mounts"] = []
    out = box.sh("test -e /etc/passwd && test ! -e /proc/self && echo empty")
    assert out == "empty\n"


def test_sixty_mounts(box: Box, data: Path) -> None:
    for number in range(60):
        box.bind(data, f"/m/{number}", "bind", "ro")
    assert box.sh("cat /m/*/file | wc -l") == "60\n"


def test_odd_names(box: Box, home: Path) -> None:
    odd = home / 'a b\tc\\d"é\n'
    odd.mkdir()
    (odd / "file").write_text("odd\n")
    box.bind(odd, '/x y\\"é', "rbind")
    assert box.output("cat", '/x y\\"é/file') == "odd\n"
