"""Several parts of a blob in one answer: read as they are, or refused."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootless.registry.errors import TransientError
from rootless.registry.multipart import MultipartError, boundary, parts
from tests.fakes.registry import BOUNDARY, byteranges

BLOB = bytes(range(256)) * 40


def split(data: bytes, step: int) -> Iterator[bytes]:
    return (data[at : at + step] for at in range(0, len(data), step))


def joined(data: bytes, step: int = 1 << 20) -> dict[int, bytes]:
    """The parts, each by its offset."""
    found: dict[int, bytes] = {}
    end = -1
    for offset, piece in parts(split(data, step), BOUNDARY, len(BLOB)):
        start = next((first for first in found if first + len(found[first]) == offset and offset == end), offset)
        found[start] = found.get(start, b"") + piece
        end = offset + len(piece)
    return found


@given(st.lists(st.tuples(st.integers(0, 4000), st.integers(1, 5000)), min_size=1, max_size=5), st.integers(1, 700))
def test_parts_come_out_however_the_answer_is_cut(spans: list[tuple[int, int]], step: int) -> None:
    wanted = "bytes=" + ",".join(f"{first}-{first + length - 1}" for first, length in spans)
    body = byteranges(BLOB, wanted)
    found = b"".join(piece for _, piece in parts(split(body, step), BOUNDARY, len(BLOB)))
    assert found == b"".join(BLOB[first : first + length] for first, length in spans)


def test_each_part_has_its_offset() -> None:
    assert joined(byteranges(BLOB, "bytes=5-9,100-199")) == {5: BLOB[5:10], 100: BLOB[100:200]}


GOOD = byteranges(BLOB, "bytes=5-9,100-199")


@pytest.mark.parametrize(
    "data",
    [
        b"", b"x" + GOOD, GOOD.replace(b"5-9/", b"5-8/"), GOOD.replace(b"5-9/", b"9-5/"), GOOD.replace(b"Range", b"X"),
        GOOD.replace(b"/10240", b"/10241"), GOOD.replace(b"5-9/10240", b"5-10240/*"), GOOD[:-4],
        b"\r\n--0a1b2c\r\n" + b"X: y\r\n" * 5000, b"\r\n--0a1b2c" + b"\0" * 100_000,
    ],
)  # fmt: skip
def test_what_is_malformed_is_an_error(data: bytes) -> None:
    with pytest.raises(MultipartError):
        joined(data)


def test_a_part_that_is_cut_is_an_error() -> None:
    with pytest.raises(TransientError, match="cut"):
        joined(GOOD[:200])


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("multipart/byteranges; boundary=abc", "abc"), ('Multipart/ByteRanges;charset=x; Boundary="a b"', "a b"),
        ("multipart/byteranges", None), ("multipart/byteranges; boundary=", None), ("text/plain; boundary=a", None),
        ("multipart/byteranges; boundary=" + "a" * 71, None), ("multipart/byteranges; boundary=ä", None), ("", None),
    ],
)  # fmt: skip
def test_boundaries(header: str, found: str | None) -> None:
    assert boundary(header) == found
