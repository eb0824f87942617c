"""Reading logs: what the monitor wrote comes back byte for byte, through rotations, filtered and headed."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootless.engine.containers.logfile import LogFile
from rootless.engine.containers.loglines import Lines, Moments
from rootless.engine.times import parse_rfc3339
from rootless.monitor.logs import Log

TEXT = st.one_of(st.binary(max_size=300), st.text("a\n", max_size=50).map(str.encode))
PIECES = st.lists(st.tuples(st.sampled_from([b"stdout", b"stderr"]), TEXT), max_size=12)


def entry(second: int, stream: str, text: str, part: str = "F", zone: str = "+00:00") -> str:
    return f"2026-11-25T04:41:{second:02}.500000000{zone} {stream} {part} {text}\n"


def moment(second: int) -> int:
    return parse_rfc3339(f"2026-11-25T04:41:{second:02}.500000000Z")


def shown(path: Path | str, lines: Lines, tail: int = -1) -> list[tuple[int, bytes]]:
    log = LogFile(str(path))
    log.open()
    if tail >= 0:
        log.seek_last(tail)
    found = [piece for data in log.read() for piece in lines.show(data)] + lines.rest()
    log.close()
    return found


def joined(pieces: list[tuple[int, bytes]], fd: int) -> bytes:
    return b"".join(text for number, text in pieces if number == fd)


@given(PIECES, st.booleans())
def test_every_byte_comes_back(pieces: list[tuple[bytes, bytes]], filtered: bool) -> None:
    with tempfile.TemporaryDirectory() as directory:
        log = Log(f"{directory}/ctr.log")
        for stream, text in pieces:
            log.write(stream, text)
        log.close()
        found = shown(f"{directory}/ctr.log", Lines(since=1 if filtered else 0))
    for fd, stream in ((1, b"stdout"), (2, b"stderr")):
        assert joined(found, fd) == b"".join(text for name, text in pieces if name == stream)


@given(st.lists(TEXT, max_size=12), st.integers(0, 30), st.booleans())
def test_the_last_lines(pieces: list[bytes], tail: int, rotated: bool) -> None:
    with tempfile.TemporaryDirectory() as directory:
        log = Log(f"{directory}/ctr.log", 1 << 20)
        for number, text in enumerate(pieces):
            log.write(b"stdout", text)
            if rotated and number == len(pieces) // 2:
                log._rotate()
        log.close()
        found = joined(shown(f"{directory}/ctr.log", Lines(), tail), 1)
    everything = b"".join(pieces)
    assert everything.endswith(found)
    assert found.count(b"\n") == min(tail, everything.count(b"\n"))
    # A part of a line at the end comes with the last whole line.
    assert not tail or found.rpartition(b"\n")[2] == everything.rpartition(b"\n")[2]


def test_the_order_of_both_streams_is_kept(tmp_path: Path) -> None:
    lines = [entry(1, "stdout", "a"), entry(1, "stderr", "b"), entry(2, "stderr", "c"), entry(2, "stdout", "d")]
    (tmp_path / "log").write_text("".join(lines))
    assert shown(tmp_path / "log", Lines()) == [(1, b"a\n"), (2, b"b\nc\n"), (1, b"d\n")]


def test_headings(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text(entry(1, "stdout", "par", "P") + entry(2, "stdout", "tial") + entry(3, "stdout", "end", "P"))
    assert shown(path, Lines()) == [(1, b"partial\nend")]
    stamp = b"2026-11-25T04:41:0%d.500000000Z"
    assert shown(path, Lines(timestamps=True)) == [(1, stamp % 1 + b" partial\n" + stamp % 3 + b" end")]
    assert shown(path, Lines("web", 1)) == [(1, b"\x1b[31mweb partial\x1b[0m\n\x1b[31mweb end")]
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text(entry(1, "stdout", "one", zone="-07:30"))
    assert shown(elsewhere, Lines(timestamps=True)) == [(1, b"2026-11-25T04:41:01.500000000-07:30 one\n")]
    together = shown(path, Lines("web", timestamps=True, join=True))
    assert together == [(1, b"web " + stamp % 1 + b" partial\n"), (1, b"web " + stamp % 3 + b" end\n")]


@pytest.mark.parametrize("zone", ["+00:00", "-07:30", "+14:00"])
def test_since_and_until(tmp_path: Path, zone: str) -> None:
    sign = -1 if zone[0] == "-" else 1
    offset = sign * (int(zone[1:3]) * 3600 + int(zone[4:]) * 60) * 10**9
    path = tmp_path / "log"
    path.write_text("".join(entry(second, "stdout", f"{second}", zone=zone) for second in range(10)))
    assert shown(path, Lines(since=moment(6) - offset)) == [(1, b"7\n8\n9\n")]
    assert shown(path, Lines(until=moment(2) - offset)) == [(1, b"0\n1\n")]
    assert shown(path, Lines(since=moment(2) - offset - 1, until=moment(3) - offset)) == [(1, b"2\n")]


def test_damaged_lines_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"\0\0\0\nnonsense\n\n" + entry(1, "stdout", "good").encode() + b"2026 stdbad F x\ncut off")
    for lines in (Lines(), Lines(timestamps=True), Lines("web")):
        assert [text.split(b" ")[-1] for _, text in shown(path, lines)] == [b"good\n"]


@given(st.binary(max_size=400))
def test_any_bytes_are_read(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "log"
        path.write_bytes(data)
        for lines in (Lines(), Lines("web", 3, True, 1, 2, True)):
            shown(path, lines)
            shown(path, lines, 3)
        moments = Moments()
        assert all(moments.of(text) >= 0 for text in data.split(b" "))


def read(log: LogFile) -> bytes:
    found = b""
    while True:
        found += b"".join(log.read())
        if not log.renew():
            return found


def test_following_through_rotations(tmp_path: Path) -> None:
    """However often the log is rotated between two looks, no line of a file that is still there is lost."""
    path = tmp_path / "log"

    def rotate() -> None:
        for number in (3, 2, 1):
            older = path.with_name(f"log.{number - 1}") if number > 1 else path
            if older.exists():
                os.rename(older, path.with_name(f"log.{number}"))
        path.touch()

    def write(text: str) -> None:
        with open(path, "a", encoding="ascii") as file:
            file.write(text)

    log = LogFile(str(path))
    assert not log.open()
    write("a\n")
    assert read(log) == b"a\n"
    write("b\nhalf")
    assert read(log) == b"b\n"
    write(" c\n")
    rotate()
    write("d\n")
    assert read(log) == b"half c\nd\n"
    for letter in "ef":
        rotate()
        write(f"{letter}\n")
    assert read(log) == b"e\nf\n"
    write("g\n")
    os.unlink(path)
    assert read(log) == b"g\n"
    log.close()
    again = LogFile(str(path))
    write("h\n")
    again.open()
    assert read(again) == b"a\nb\nhalf c\nd\ne\nh\n"
    again.close()
