"""The record of true owners, attributes of archives, and arithmetic on id maps."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from storage import idmaps, ownership
from storage.archive import xattrs
from storage.errors import DamagedError
from storage.ownership import Ids, OwnersWriter

CAPABILITY_2 = bytes.fromhex("0100000200200000000000000000000000000000")


def write(path: Path, *calls: tuple[str, ...]) -> dict[str, ownership.TrueEntry]:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    writer = OwnersWriter(fd)
    for name, *paths in calls:
        if name == "record":
            writer.record(os.fsencode(paths[0]), 1, 2, 0o644)
        else:
            getattr(writer, name)(*map(os.fsencode, paths))
    writer.flush()
    os.close(fd)
    return ownership.load(str(path))


def test_record_link_forget(tmp_path: Path) -> None:
    found = write(
        tmp_path / "owners", ("record", "a\udcff\n"), ("link", "b", "a\udcff\n"), ("record", "d/x"), ("record", "dx"),
        ("forget", "d"), ("link", "c", "unknown"),
    )
    assert list(found) == ["a\udcff\n", "b", "dx"]


def test_nothing_to_record(tmp_path: Path) -> None:
    assert write(tmp_path / "owners", ("forget", "a"), ("link", "b", "a")) == {}
    assert (tmp_path / "owners").stat().st_size == 0
    assert ownership.load(str(tmp_path / "missing")) == {}


@pytest.mark.parametrize("text", ["x", "[]", '{"path"}', "{}", "\0", '{"path": 5, "gone": true}\n{"path": []}'])
def test_damaged_record(tmp_path: Path, text: str) -> None:
    (tmp_path / "owners").write_text(text)
    with pytest.raises(DamagedError):
        ownership.load(str(tmp_path / "owners"))


def test_ids_fold() -> None:
    ids = Ids([(0, 65536)], [(0, 1), (10, 5)])
    assert ids.fold(5, 12) == (5, 12, True, True)
    assert ids.fold(70_000, 3) == (65_534, 0, False, False)
    for number in range(30_000):  # however many owners an archive names
        ids.fold(number, 0)
    assert Ids([(0, 1)], [(0, 1)]).fold(33, 0) == (0, 0, False, True)


def test_between_maps() -> None:
    stored = [(0, 1000, 1), (1, 100_000, 65_536)]
    keep = [(0, 100_000, 1000), (1000, 1000, 1), (1001, 101_000, 64_536)]
    rows = idmaps.between(stored, keep)
    assert rows == [(0, 1000, 1), (1, 0, 1000), (1001, 1001, 64_536)]
    assert [idmaps.shifted(rows, number) for number in (0, 1, 1000, 1001, 70_000)] == [1000, 0, 999, 1001, None]


def test_attributes_of_archives() -> None:
    given = {
        b"user.note": b"v", b"user.overlay.redirect": b"/etc", b"trusted.overlay.metacopy": b"", b"trusted.x": b"t",
        b"user.fuseoverlayfs.override_stat": b"0:0:777", b"user.rootlesscontainers": b"", b"security.selinux": b"label",
        b"security.capability": CAPABILITY_2, b"user.containers.override_stat": b"0:0:777",
    }
    real, recorded = xattrs.sort_out(given)
    assert real == {b"user.note": b"v", b"security.capability": CAPABILITY_2}
    assert recorded == {b"trusted.x": b"t"}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (CAPABILITY_2, CAPABILITY_2),
        (bytes.fromhex("01000003") + CAPABILITY_2[4:] + bytes(4), CAPABILITY_2),
        (bytes.fromhex("01000003") + CAPABILITY_2[4:] + b"\x01\0\0\0", None),
        (b"", None),
        (bytes(24), None),
        (bytes(100_000), None),
    ],
)
def test_file_capabilities(value: bytes, expected: bytes | None) -> None:
    assert xattrs.file_capability(value) == expected
