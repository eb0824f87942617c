"""Owners in attributes and sidecars: what is written is read, and nothing else is believed."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage import remembered

IDS = st.integers(0, remembered.UNCHANGED)


@given(IDS, IDS)
def test_what_is_written_is_read(uid: int, gid: int) -> None:
    assert remembered.decode(remembered.encode(uid, gid)) == (uid, gid)


@pytest.mark.parametrize(
    ("owner", "value"),
    [((0, 0), b""), ((1, 0), b"\x08\x01"), ((0, 2), b"\x10\x02"), ((1000, 100), b"\x08\xe8\x07\x10\x64"),
     ((4294967295, 4294967295), b"\x08\xff\xff\xff\xff\x0f\x10\xff\xff\xff\xff\x0f")],
)  # fmt: skip
def test_the_form_of_rootlesscontainers(owner: tuple[int, int], value: bytes) -> None:
    """As a compiler of protocol buffers has it."""
    assert remembered.encode(*owner) == value


@given(st.binary(max_size=24))
def test_anything_is_an_owner_or_none(value: bytes) -> None:
    found = remembered.decode(value)
    assert found is None or all(0 <= number <= remembered.UNCHANGED for number in found)


@pytest.mark.parametrize("value", [b"\x08", b"\x08\x80", b"\x18\x01", b"\x08" + b"\xff" * 9 + b"\x01", b"\x0a\x01x"])
def test_what_is_no_owner(value: bytes) -> None:
    assert remembered.decode(value) is None


def test_a_sidecar_that_was_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "owners"
    path.write_bytes(
        remembered.line(5, 40960, (1, 2)) + remembered.line(5, 4096, (3, 4)) + remembered.line(5, 40960, (5, 6))
        + remembered.line(7, 40960, (8, 9))[:-9]
    )
    assert remembered.load(str(path)) == {(5, 40960): (5, 6), (5, 4096): (3, 4)}
    assert remembered.load(str(tmp_path / "none")) == {}


def test_an_id_that_stays() -> None:
    stays = remembered.UNCHANGED
    assert remembered.over((stays, 4), (1, 2)) == (1, 4)
    assert remembered.over((3, stays), (1, 2)) == (3, 2)
