"""What the monitor writes to a container's log: every byte, within its bounds, and never in the container's way."""

from __future__ import annotations

import _socket
import os
import re
import resource
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootless.monitor.journal import Journal
from rootless.monitor.logs import Log, NoLog, open_log

LINE = re.compile(rb"^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}[+-]\d\d:\d\d) (stdout|stderr) ([FP]) (.*)$", re.DOTALL)


def text_of(*logs: Path) -> bytes:
    """What was logged, put together again."""
    parts = []
    for log in logs:
        for line in log.read_bytes().split(b"\n")[:-1]:
            found = LINE.match(line)
            assert found, line
            parts.append(found[4] + (b"\n" if found[3] == b"F" else b""))
    return b"".join(parts)


@given(st.lists(st.one_of(st.binary(max_size=200), st.text("a\n\r\0", max_size=50).map(str.encode)), max_size=5))
def test_the_log_keeps_every_byte(tmp_path_factory: pytest.TempPathFactory, pieces: list[bytes]) -> None:
    path = tmp_path_factory.mktemp("log") / "ctr.log"
    log = Log(str(path))
    for piece in pieces:
        log.write(b"stdout", piece)
    log.close()
    assert text_of(path) == b"".join(pieces)
    assert path.stat().st_mode & 0o777 == 0o600


@given(
    st.lists(st.one_of(st.binary(max_size=9000), st.integers(0, 3000).map(lambda n: b"y\n" * n)), max_size=6),
    st.integers(1, 20_000),
)
def test_the_limit_is_for_both_files_together(pieces: list[bytes], limit: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "ctr.log"
        log = Log(str(path), max_size=limit)
        for piece in pieces:
            log.write(b"stdout", piece)
            sizes = [file.stat().st_size for file in Path(directory).iterdir()]
            assert sum(sizes) <= max(limit, 4096) and len(sizes) <= 2
        log.close()
        older = path.with_name("ctr.log.1")
        kept = text_of(*([older] if older.exists() else []), path)
        assert b"".join(pieces).endswith(kept)
        assert kept or not any(pieces)


@pytest.mark.parametrize("text", [b"\0" * 65536, b"x" * 65536, b"\n" * 65536, b"y\n" * 32768], ids="NxLy")
def test_endless_output_is_bounded_in_size_and_memory(tmp_path: Path, text: bytes) -> None:
    log = Log(str(tmp_path / "ctr.log"), max_size=1 << 20)
    log.write(b"stdout", text)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(200):
        log.write(b"stdout", text)
        assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= 1 << 20
    log.close()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 4 << 10


def test_where_nothing_can_be_renamed_the_file_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "ctr.log"
    log = Log(str(path), max_size=4096)
    (tmp_path / "ctr.log.1").mkdir()
    for number in range(1000):
        log.write(b"stdout", b"line %d\n" % number)
        assert path.stat().st_size <= 2048
    log.close()
    assert text_of(path).endswith(b"line 999\n")


def test_a_log_that_ran_before_is_continued(tmp_path: Path) -> None:
    path = tmp_path / "ctr.log"
    for text in (b"first\n", b"second\n"):
        log = Log(str(path))
        log.write(b"stderr", text)
        log.close()
    assert text_of(path) == b"first\nsecond\n"


def test_a_full_disk_does_not_stop_the_container(tmp_path: Path) -> None:
    (tmp_path / "ctr.log").symlink_to("/dev/full")
    with pytest.raises(OSError):
        Log(str(tmp_path / "ctr.log"))
    log = Log("/dev/full")
    log.write(b"stdout", b"lost\n")
    log.close()


def test_a_line_that_was_cut_is_taken_back(tmp_path: Path) -> None:
    """A limit of the file's size cuts a write as a full disk does."""
    path = tmp_path / "ctr.log"
    child = os.fork()
    if not child:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        log = Log(str(path))
        for _ in range(100):
            log.write(b"stdout", b"x" * 100 + b"\n")
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert path.stat().st_size <= 1000
    assert set(text_of(path).split(b"\n")) == {b"x" * 100, b""}


@pytest.mark.parametrize("driver", ["none", "passthrough", "k8s-file", "journald"])
def test_what_cannot_be_opened_is_no_log(tmp_path: Path, driver: str) -> None:
    os.mkfifo(tmp_path / "fifo")
    log = open_log({"driver": driver, "path": str(tmp_path / "fifo"), "max_size": 0, "fields": {}})
    if not (driver == "journald" and isinstance(log, Journal)):
        assert isinstance(log, NoLog)
    log.write(b"stdout", b"text\n")
    log.close()


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[tuple[_socket.socket, str]]:
    path = str(tmp_path / "socket")
    server = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM)
    server.bind(path)
    yield server, path
    server.close()


def fields(entry: bytes) -> dict[bytes, bytes]:
    """An entry of the journal's own protocol."""
    found = {}
    while entry:
        line, _, entry = entry.partition(b"\n")
        key, equals, value = line.partition(b"=")
        if not equals:
            size = int.from_bytes(entry[:8], "little")
            value, entry = entry[8 : 8 + size], entry[9 + size :]
        found[key] = value
    return found


def test_the_journal(journal: tuple[_socket.socket, str]) -> None:
    server, path = journal
    log = Journal({"CONTAINER_NAME": "we\nb", "CONTAINER_ID": "ab"}, path)
    log.write(b"stdout", b"one\n\0two\n")
    log.write(b"stderr", b"three")
    first, second, third = (fields(server.recv(1 << 16)) for _ in range(3))
    assert first == {b"CONTAINER_NAME": b"we b", b"CONTAINER_ID": b"ab", b"PRIORITY": b"6", b"MESSAGE": b"one"}
    assert second[b"MESSAGE"] == b"\0two"
    assert third[b"CONTAINER_PARTIAL_MESSAGE"] == b"true" and third[b"PRIORITY"] == b"3"
    log.close()


def test_a_large_entry_is_a_file_in_memory(journal: tuple[_socket.socket, str]) -> None:
    server, path = journal
    log = Journal({}, path)
    text = b"x" * (1 << 20)
    log.write(b"stdout", text + b"\n")
    data, ancillary, _, _ = server.recvmsg(10, _socket.CMSG_SPACE(4))
    fd = int.from_bytes(ancillary[0][2], "little")
    assert data == b"" and fields(os.pread(fd, 2 << 20, 0))[b"MESSAGE"] == text
    with pytest.raises(OSError):
        os.write(fd, b"changed")
    os.close(fd)
    log.close()


def test_a_journal_that_does_not_read_loses_entries(
    journal: tuple[_socket.socket, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rootless.monitor.journal._PATIENCE", 10)
    server, path = journal
    log = Journal({}, path)
    for _ in range(2000):
        log.write(b"stdout", b"lost\n" * 10)
    os.unlink(path)
    server.close()
    log.write(b"stdout", b"nobody listens\n")
    again = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM)
    again.bind(path)
    log.write(b"stdout", b"restarted\n")
    assert fields(again.recv(1000))[b"MESSAGE"] == b"restarted"
    again.close()
    log.close()
