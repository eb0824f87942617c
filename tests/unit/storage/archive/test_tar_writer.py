"""What is written as an archive is read back the same: by our own reader, by Python's and by GNU tar."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.archive.limits import Limits
from storage.archive.pack import Packer, pack_tree
from storage.archive.put import chunks_of
from storage.archive.tar_reader import DIRECTORY, FIFO, HARDLINK, REGULAR, SYMLINK, Entry, TarReader
from storage.archive.tar_writer import TarWriter, segments

PARTS = st.binary(min_size=1, max_size=120).filter(lambda part: not set(part) & {0, 0x2F} and part.strip(b"."))
NAMES = st.lists(PARTS, min_size=1, max_size=4).map(b"/".join)
TIMES = st.integers(-(1 << 62) + 1, (1 << 62) - 1)
IDS = st.integers(0, (1 << 32) - 2)
ATTRIBUTES = st.dictionaries(
    st.sampled_from([b"user.a", b"user.some longer name"]), st.binary(max_size=300), max_size=2
)


def written(*members: tuple[tuple[object, ...], dict[str, object], bytes], exact: bool = True) -> bytes:
    """The archive of members: arguments and keywords of ``add``, and the content."""
    archive = os.memfd_create("archive")
    tar = TarWriter(archive, exact_times=exact)
    for arguments, keywords, data in members:
        tar.add(*arguments, **keywords)  # type: ignore[arg-type]
        if arguments[1] == REGULAR:
            fd = os.memfd_create("content")
            os.write(fd, data)
            os.lseek(fd, 0, os.SEEK_SET)
            tar.file(fd, len(data))
            os.close(fd)
    tar.finish()
    os.lseek(archive, 0, os.SEEK_SET)
    result = b"".join(chunks_of(archive))
    os.close(archive)
    return result


def entries(data: bytes) -> list[tuple[Entry, bytes]]:
    reader = TarReader([data], Limits())
    return [(entry, b"".join(bytes(view) for view in reader.data())) for entry in reader]


@given(NAMES, NAMES, TIMES, IDS, IDS, st.integers(0, 0o7777), st.binary(max_size=2000), ATTRIBUTES)
def test_our_reader_reads_it_back(
    name: bytes, link: bytes, time: int, uid: int, gid: int, mode: int, content: bytes, xattrs: dict[bytes, bytes]
) -> None:
    data = written(
        ((name, REGULAR, mode, uid, gid, time), {"size": len(content), "xattrs": xattrs}, content),
        ((name + b"/", DIRECTORY, mode, uid, gid, time), {}, b""),
        ((name, SYMLINK, 0o777, uid, gid, time), {"link": link}, b""),
        ((name, HARDLINK, mode, uid, gid, time), {"link": link}, b""),
        ((name, FIFO, mode, uid, gid, time), {}, b""),
    )
    assert len(data) % 512 == 0
    found = entries(data)
    assert [entry.kind for entry, _ in found] == [REGULAR, DIRECTORY, SYMLINK, HARDLINK, FIFO]
    for entry, _ in found:
        assert entry.name.rstrip(b"/") == name.rstrip(b"/")
        assert (entry.uid, entry.gid, entry.mtime_ns) == (uid, gid, time)
        assert entry.mode == (0o777 if entry.kind == SYMLINK else mode)
        if entry.kind in (SYMLINK, HARDLINK):
            assert entry.linkname == link
    assert found[0][1] == content
    assert (found[0][0].xattrs or {}) == xattrs


@given(
    st.lists(st.text("abcdefgh/ äß€", min_size=1, max_size=300), min_size=1, max_size=5),
    st.integers(0, (1 << 33)), IDS,
)  # fmt: skip
def test_python_reads_the_same(names: list[str], time: int, uid: int) -> None:
    names = [name.strip("/").replace("//", "/") or "x" for name in names]
    members: list[tuple[tuple[object, ...], dict[str, object], bytes]] = [
        ((os.fsencode(name), REGULAR, 0o644, uid, 5, time * 10**9), {"size": 3}, b"abc") for name in names
    ]  # fmt: skip
    with tarfile.open(fileobj=io.BytesIO(written(*members))) as archive:
        found = archive.getmembers()
        assert [member.name for member in found] == [name.rstrip("/") for name in names]
        assert {(member.uid, member.gid, member.mtime, member.size) for member in found} == {(uid, 5, time, 3)}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A directory with a hole, links, a pipe, long names, and a large file."""
    root = tmp_path / "tree"
    (root / ("d" * 200) / ("e" * 200)).mkdir(parents=True)
    (root / ("d" * 200) / ("e" * 200) / "deep").write_bytes(b"deep")
    (root / "large").write_bytes(os.urandom(3 << 20))
    with (root / "sparse").open("wb") as file:
        file.write(b"begin")
        file.seek(9 << 20)
        file.write(b"end")
        file.truncate(10 << 20)
    (root / "one").write_bytes(b"linked")
    os.link(root / "one", root / "two")
    (root / "link").symlink_to("/nowhere/" + "x" * 150)
    os.mkfifo(root / "pipe")
    (root / "one").chmod(0o4751)
    return root


@pytest.mark.parametrize("sparse", [False, True])
def test_gnu_tar_makes_the_same_tree(tree: Path, tmp_path: Path, sparse: bool) -> None:
    archive = tmp_path / "a.tar"
    with archive.open("wb") as file:
        writer = TarWriter(file.fileno(), exact_times=True)
        fd = os.open(tree, os.O_RDONLY)
        pack_tree(Packer(writer, sparse=sparse), fd, b"", lambda name, error: pytest.fail(name))
        os.close(fd)
        writer.finish()
    if sparse:
        assert archive.stat().st_size < 5 << 20
    target = tmp_path / "target"
    target.mkdir()
    subprocess.run(["tar", "-xpf", archive, "-C", target], check=True)
    for path in sorted(tree.rglob("*")):
        ours, theirs = path.lstat(), (target / path.relative_to(tree)).lstat()
        assert (ours.st_mode, ours.st_nlink, ours.st_size) == (theirs.st_mode, theirs.st_nlink, theirs.st_size)
        if not path.is_dir() and not path.is_symlink():
            assert ours.st_mtime_ns == theirs.st_mtime_ns
    assert (target / "large").read_bytes() == (tree / "large").read_bytes()


def test_a_file_that_shrinks_is_filled_up(tmp_path: Path) -> None:
    for size in (1000, 200_000):
        (tmp_path / "f").write_bytes(b"x" * 10)
        with (tmp_path / "a").open("wb") as file, (tmp_path / "f").open("rb") as source:
            writer = TarWriter(file.fileno())
            writer.add(b"f", REGULAR, 0o644, 0, 0, 0, size=size)
            writer.file(source.fileno(), size)
            writer.finish()
        (_, content), = entries((tmp_path / "a").read_bytes())
        assert content == b"x" * 10 + bytes(size - 10)


def test_to_a_file_that_is_opened_for_appending(tmp_path: Path, tree: Path) -> None:
    fd = os.open(tmp_path / "a", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    source = os.open(tree / "large", os.O_RDONLY)
    writer = TarWriter(fd)
    writer.add(b"f", REGULAR, 0o644, 0, 0, 0, size=3 << 20)
    writer.file(source, 3 << 20)
    writer.finish()
    (_, content), = entries((tmp_path / "a").read_bytes())
    assert content == (tree / "large").read_bytes()


def test_segments_of_holes(tree: Path) -> None:
    fd = os.open(tree / "sparse", os.O_RDONLY)
    found = segments(fd, 10 << 20)
    os.close(fd)
    assert found[0][0] == 0
    assert found[-1][0] <= 9 << 20 < sum(found[-1])
    assert sum(length for _, length in found) < 1 << 20
