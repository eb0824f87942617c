"""Placing archives into directories that are not to be trusted: nothing outside changes, whatever the archive says."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from storage.archive.put import Putter
from storage.errors import StorageError
from tests.support import attacks, layers
from tests.support.canary import Canary
from tests.support.layers import archive, device, directory, fifo, file, hardlink, symlink


def put(target: Path, data: bytes, path: str = "", **more: object) -> Putter:
    """Place ``data`` below ``target``, or below ``path`` in the root ``target``."""
    fd = os.open(target, os.O_PATH | os.O_DIRECTORY)
    umask = os.umask(0)
    try:
        placing = Putter(fd, path, **more)  # type: ignore[arg-type]
        placing.put([data])
    finally:
        os.umask(umask)
        os.close(fd)
    return placing


@pytest.mark.parametrize("inside", [False, True], ids=["host", "container"])
@pytest.mark.parametrize("attack", attacks.ALL, ids=str)
def test_attack(attack: attacks.Attack, inside: bool, tmp_path: Path) -> None:
    canary = Canary(tmp_path / "canary")
    aimed = attacks.aimed(attack, str(canary.root))
    root = tmp_path / "root"
    (root / "dest").mkdir(parents=True)
    for items in aimed.layers:
        try:
            if inside:
                put(root, archive(items), "/dest", skip_devices=True, overwrite=True)
            else:
                put(root / "dest", archive(items), skip_devices=True, overwrite=True)
        except (StorageError, OSError):
            continue
    canary.check()
    assert sorted(os.listdir(tmp_path)) == ["canary", "root"]
    if not inside:
        assert os.listdir(root) == ["dest"]


def test_links_of_a_container_stay_inside(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (root / "lnk").symlink_to("/etc")
    (root / "up").symlink_to("../../../etc")
    put(root, archive([file("lnk/a", "1"), file("up/b", "2")]), "/.")
    assert layers.listing(root / "etc") == {"a": "= 1", "b": "= 2"}


def test_links_below_a_directory_of_the_host_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "d" / "l").symlink_to("../other")
    with pytest.raises(OSError, match="symbolic links"):
        put(tmp_path / "d", archive([file("l/x", "1")]))
    assert os.listdir(tmp_path / "other") == []


def test_directories_and_files_replace_each_other_only_when_asked(tmp_path: Path) -> None:
    (tmp_path / "d" / "sub").mkdir(parents=True)
    (tmp_path / "d" / "f").write_text("old")
    with pytest.raises(FileExistsError):
        put(tmp_path / "d", archive([file("sub", "x")]))
    with pytest.raises(FileExistsError):
        put(tmp_path / "d", archive([directory("f")]))
    with pytest.raises(FileExistsError):
        put(tmp_path / "d", archive([symlink("sub", "x")]))
    assert layers.listing(tmp_path / "d") == {"sub": "dir", "f": "= old"}
    put(tmp_path / "d", archive([file("sub", "x"), directory("f"), file("f/in", "y")]), overwrite=True)
    assert layers.listing(tmp_path / "d") == {"sub": "= x", "f": "dir", "f/in": "= y"}


def test_modes_times_links_and_holes(tmp_path: Path) -> None:
    items = [
        directory("d", 0o500), file("d/f", "text", 0o640), hardlink("d/g", "d/f"), symlink("d/l", "f"), fifo("d/p"),
        file("implied/f", "x"),
    ]  # fmt: skip
    put(tmp_path, archive(items))
    assert (tmp_path / "d").stat().st_mode & 0o7777 == 0o500
    assert (tmp_path / "d" / "f").stat().st_mode & 0o7777 == 0o640
    assert (tmp_path / "d" / "f").stat().st_nlink == 2
    assert {path.lstat().st_mtime for path in (tmp_path / "d", *(tmp_path / "d").iterdir())} == {1_000_000_000}
    assert (tmp_path / "implied").stat().st_mode & 0o7777 == 0o755


def test_devices_are_refused_or_left_out(tmp_path: Path) -> None:
    data = archive([device("null", "c", 1, 3), hardlink("also", "null"), file("f", "x")])
    with pytest.raises(StorageError, match="device"):
        put(tmp_path, data)
    assert os.listdir(tmp_path) == []
    assert put(tmp_path, data, skip_devices=True).skipped == {b"null", b"also"}
    assert os.listdir(tmp_path) == ["f"]


def test_overlay_attributes_of_an_archive_are_not_set(tmp_path: Path) -> None:
    items = [
        file("f", "x", xattrs={"user.overlay.opaque": b"y", "user.overlay.redirect": b"/", "user.note": b"n"}),
        directory("d", xattrs={"user.overlay.opaque": b"y", "user.fuseoverlayfs.opaque": b"y"}),
    ]
    put(tmp_path, archive(items))
    assert os.listxattr(tmp_path / "f") == ["user.note"]
    assert os.listxattr(tmp_path / "d") == []


def test_many_links_between_directories(tmp_path: Path) -> None:
    """More directories than are kept open, and one that is replaced while it is."""
    items = [file(f"d{number}/f", str(number)) for number in range(100)]
    items += [file("d5", "now a file"), file("d6/f", "again")]
    put(tmp_path, archive(items), overwrite=True)
    assert (tmp_path / "d5").read_text() == "now a file"
    assert (tmp_path / "d99" / "f").read_text() == "99"
    assert (tmp_path / "d6" / "f").read_text() == "again"
