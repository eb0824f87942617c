"""Is an unpacked layer what its blob says, and making it so again.

The layer is unpacked once more, into tmp/ and by the code that unpacked it first, and both trees are walked side by
side: so nothing has to be written down at the time of a pull, and what is compared is what the archive means. To find
out it is enough to unpack a *skeleton*, in which a file holds the digest of its content; to mend, what differs is moved
from a whole tree into the layer, name by name, and nothing else of the layer is touched.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
from functools import partial

from storage import atomic, jsonfast, private
from storage import sys as calls
from storage.archive import tar_reader as tar
from storage.archive.extract import Extractor
from storage.archive.limits import Limits
from storage.archive.tree import remove
from storage.errors import StorageError
from storage.layer_parents import complete_parents
from storage.layers import Layers
from storage.layers_unpack import Job
from storage.oci import MAX_DOCUMENT
from storage.work import WorkDirectory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from storage.layers_unpack import Confine, InUserns, LayerSource
    from storage.layout import Layout

_MARK = os.urandom(16)  # begins the files of a skeleton; no archive can know it
_CHUNK = 1 << 20
_MOST = 1000  # that are told of one layer
_RESOLVE = calls.RESOLVE_BENEATH | calls.RESOLVE_NO_SYMLINKS | calls.RESOLVE_NO_MAGICLINKS
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_ATTRIBUTES = ("user.", "security.capability", "system.posix_acl_")  # what an unpacked layer may have


def verify(
    layout: Layout, source: LayerSource, diff_ids: list[str], *, in_userns: InUserns, confine: Confine,
    mend: bool = False,
) -> list[tuple[str, str]]:
    """What differs between an unpacked layer and its blob, as (path, what): nothing, if the layer is whole.

    ``diff_ids``: all layers of an image that has it, base first; those below must be unpacked. ``in_userns`` and
    ``confine`` as for ``layers_unpack.unpack``. ``mend``: what differs is made as the blob says. The caller keeps the
    layer from being removed (``gc.adding``). Raises StorageError: the blob cannot be unpacked, the disk is full.
    """
    with WorkDirectory(layout) as work:
        job = (_Mending if mend else _Comparing)(layout, work.path, confine, None, Limits())
        answer = in_userns(lambda: job.run([source], diff_ids, 1))
    return [(path, what) for path, what in json.loads(answer)]


class _Skeleton(Extractor):
    """Unpacks digests in place of contents."""

    def _content(self, fd: int, entry: tar.Entry, reader: tar.TarReader) -> None:
        if entry.sparse is not None:
            super()._content(fd, entry, reader)  # holes cost nothing, and a digest of terabytes of them would
            return
        found = hashlib.sha256()
        for view in reader.data():
            found.update(view)
        atomic.write_all(fd, _MARK + found.digest() + entry.size.to_bytes(8, "little"))


class _Comparing(Job):
    """Unpacks one layer that is there already, and compares."""

    extractor: type[Extractor] = _Skeleton
    mends = False

    def wants(self, diff_id: str) -> bool:
        return Layers(self.layout).has(diff_id, self.map_key)

    def finish(self, diff_ids: list[str]) -> list[Any]:
        complete_parents(self.tree_of, diff_ids, self.records)
        found: list[tuple[str, str]] = []
        for diff_id, record in self.records.items():
            key = self.key(diff_id)
            mine, theirs = f"{self.build}/{key}", self.layout.layer(key)
            implicit = record.pop("implicit")
            assert isinstance(implicit, list)
            if not record.pop("owners"):
                os.unlink(f"{mine}/owners")
            if self.mends:
                _sync(mine)
            found += _compare_records(mine, theirs, record, self.mends)
            found += _Comparison(mine, theirs, {f"/{path}" for path in implicit}, self.mends).run()
            if self.mends:
                _sync(theirs)
        return found


class _Mending(_Comparing):
    """The same with whole contents, which take the place of what differs."""

    extractor = Extractor
    mends = True


def _sync(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        calls.syncfs(fd)
    finally:
        os.close(fd)


def _compare_records(mine: str, theirs: str, record: dict[str, object], mends: bool) -> list[tuple[str, str]]:
    """The directory of the layer, its record, and its sidecar of owners."""
    found: list[tuple[str, str]] = []

    def differs(name: str, what: str, mend: Callable[[], None]) -> None:
        found.append((name, what))
        if mends:
            mend()

    why = private.wrong(theirs, 0o700)
    if why:
        differs(".", why, lambda: os.chmod(theirs, 0o700))
    for name, wanted in (("layer.json", jsonfast.dump_bytes(record)), ("owners", _bytes(f"{mine}/owners"))):
        path = f"{theirs}/{name}"
        if wanted is None:
            if os.path.lexists(path):
                differs(name, "the layer has none", partial(remove_at, theirs, name))
            continue
        why = private.wrong(path, 0o600)
        if not why and name == "layer.json":
            why = "" if _json(path) == record else "it does not say what the layer is"
        elif not why:
            why = "" if _bytes(path) == wanted else "its bytes are not those that the layer gives"
        if why:
            differs(name, why, partial(_replace, theirs, name, wanted))
    return found


def remove_at(directory: str, name: str) -> None:
    """Remove what is at ``name`` in ``directory``, whatever it is."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        remove(fd, name)
    finally:
        os.close(fd)


def _replace(directory: str, name: str, data: bytes) -> None:
    if os.path.isdir(f"{directory}/{name}") and not os.path.islink(f"{directory}/{name}"):
        remove_at(directory, name)
    atomic.write(f"{directory}/{name}", data)


def _bytes(path: str) -> bytes | None:
    """A file of the layer's directory; None if there is none that can be read."""
    try:
        return atomic.read(path, 1 << 32)
    except OSError:
        return None


def _json(path: str) -> object:
    try:
        return jsonfast.loads(atomic.read(path, MAX_DOCUMENT))
    except (OSError, StorageError):
        return None


class _Comparison:
    """Walks ``mine/diff``, which is as it should be, and ``theirs/diff`` side by side.

    ``implicit``: directories without an entry in the archive, which have the time of whoever made them.
    """

    def __init__(self, mine: str, theirs: str, implicit: set[str], mends: bool) -> None:
        self._mine = os.open(mine, _DIRECTORY | os.O_CLOEXEC)
        self._theirs = os.open(theirs, _DIRECTORY | os.O_CLOEXEC)
        self._implicit = implicit
        self._mends = mends
        self._found: list[tuple[str, str]] = []

    def run(self) -> list[tuple[str, str]]:
        """Compare; the differences, with paths as a container sees them."""
        try:
            todo = ["/"] if self._same("/", "diff", self._mine, self._theirs) else []
            while todo:
                path = todo.pop()
                mine = calls.openat2(self._mine, f"diff{path}", _DIRECTORY, _RESOLVE)
                try:
                    theirs = calls.openat2(self._theirs, f"diff{path}", _DIRECTORY, _RESOLVE)
                    try:
                        todo += self._directory(path.rstrip("/"), mine, theirs)
                    finally:
                        os.close(theirs)
                finally:
                    os.close(mine)
            return self._found
        finally:
            os.close(self._mine)
            os.close(self._theirs)

    def _tell(self, path: str, what: str) -> None:
        if len(self._found) < _MOST:
            self._found.append((path, what))

    def _directory(self, path: str, mine: int, theirs: int) -> list[str]:
        """Compare what is in a directory; returns the directories below it that both have."""
        status = os.fstat(theirs if (path or "/") in self._implicit else mine)
        wanted, there = set(os.listdir(mine)), set(os.listdir(theirs))
        below = []
        for name in sorted(wanted | there):
            child = f"{path}/{name}"
            if name not in wanted:
                self._tell(child, "the layer has no such file")
                if self._mends:
                    remove(theirs, name)
            elif name not in there:
                self._tell(child, "it is missing")
                if self._mends:
                    os.rename(name, name, src_dir_fd=mine, dst_dir_fd=theirs)
            elif self._same(child, name, mine, theirs):
                below.append(child)
        if self._mends:
            os.utime(theirs, ns=(status.st_mtime_ns, status.st_mtime_ns))
        return below

    def _same(self, path: str, name: str, mine: int, theirs: int) -> bool:
        """Compare (and mend) what both have by this name; whether it is a directory, to be entered."""
        wanted, there = os.lstat(name, dir_fd=mine), os.lstat(name, dir_fd=theirs)
        why = self._difference(path, name, (mine, wanted), (theirs, there))
        directories = stat.S_ISDIR(wanted.st_mode) and stat.S_ISDIR(there.st_mode)
        if why:
            self._tell(path, why)
            if self._mends and directories:
                _give(name, mine, theirs, (there if path in self._implicit else wanted).st_mtime_ns)
            elif self._mends:
                if stat.S_ISDIR(wanted.st_mode) or stat.S_ISDIR(there.st_mode):
                    remove(theirs, name)
                os.rename(name, name, src_dir_fd=mine, dst_dir_fd=theirs)
        return directories

    def _difference(
        self, path: str, name: str, mine: tuple[int, os.stat_result], theirs: tuple[int, os.stat_result]
    ) -> str:
        """What is wrong with ``theirs``; empty: nothing."""
        wanted, there = mine[1], theirs[1]
        kind = stat.S_IFMT(wanted.st_mode)
        if (kind, wanted.st_rdev) != (stat.S_IFMT(there.st_mode), there.st_rdev):
            return "it is another kind of file"
        if wanted.st_mode != there.st_mode:
            return f"its mode is {stat.S_IMODE(there.st_mode):04o}, not {stat.S_IMODE(wanted.st_mode):04o}"
        if (wanted.st_uid, wanted.st_gid) != (there.st_uid, there.st_gid):
            return f"its owner is {there.st_uid}:{there.st_gid}, not {wanted.st_uid}:{wanted.st_gid}"
        try:
            if _attributes(mine[0], name) != _attributes(theirs[0], name):
                return "its extended attributes are others"
            if kind == stat.S_IFLNK and os.readlink(name, dir_fd=mine[0]) != os.readlink(name, dir_fd=theirs[0]):
                return "it leads elsewhere"
            if kind == stat.S_IFREG:
                # More: another layer may have the file too (storage.dedup), at the cost of nothing.
                if wanted.st_nlink > there.st_nlink:
                    return f"it has {there.st_nlink} names, not {wanted.st_nlink}"
                if not _same_content(name, mine[0], theirs[0]):
                    return "its bytes are not those of the layer"
        except OSError as error:
            return f"it cannot be read: {error.strerror}"
        timeless = kind == stat.S_IFCHR or path in self._implicit  # a whiteout has no entry of its own
        if wanted.st_mtime_ns != there.st_mtime_ns and not timeless:
            return "its time is another"
        return ""


def _attributes(directory: int, name: str) -> dict[str, bytes]:
    """The extended attributes of an entry of an open directory, which is not followed."""
    path = f"/proc/self/fd/{directory}/{name}"
    try:
        return {
            key: os.getxattr(path, key, follow_symlinks=False)
            for key in os.listxattr(path, follow_symlinks=False) if key.startswith(_ATTRIBUTES)}
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            return {}
        raise


def _same_content(name: str, mine: int, theirs: int) -> bool:
    """Whether two regular files have the same bytes; ``mine`` may be of a skeleton."""
    left = os.open(name, _FILE, dir_fd=mine)
    try:
        right = os.open(name, _FILE, dir_fd=theirs)
        try:
            size = os.fstat(right).st_size
            told = os.pread(left, len(_MARK) + 40, 0)
            if not told.startswith(_MARK):
                return os.fstat(left).st_size == size and _same_bytes(left, right, size)
            if size != int.from_bytes(told[-8:], "little"):
                return False
            found = hashlib.sha256()
            while chunk := os.read(right, _CHUNK):
                found.update(chunk)
            return found.digest() == told[len(_MARK):-8]
        finally:
            os.close(right)
    finally:
        os.close(left)


def _same_bytes(left: int, right: int, size: int) -> bool:
    """Compare two files of one size; what is a hole in both is not read."""
    at = 0
    while at < size:
        at = min(_next_data(left, at, size), _next_data(right, at, size))
        chunk = os.pread(left, _CHUNK, at)
        if chunk != os.pread(right, len(chunk) or 1, at):
            return False
        at += len(chunk) or size
    return True


def _next_data(fd: int, at: int, size: int) -> int:
    try:
        return os.lseek(fd, at, os.SEEK_DATA)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return size
        raise


def _give(name: str, mine: int, theirs: int, time: int) -> None:
    """Give a directory the owner, mode and attributes of another, and a time."""
    source = os.open(name, _DIRECTORY | os.O_CLOEXEC, dir_fd=mine)
    try:
        target = os.open(name, _DIRECTORY | os.O_CLOEXEC, dir_fd=theirs)
        try:
            status = os.fstat(source)
            os.fchown(target, status.st_uid, status.st_gid)
            wanted, there = _attributes(mine, name), _attributes(theirs, name)
            for key in there.keys() - wanted.keys():
                os.removexattr(target, key)
            for key, value in wanted.items():
                os.setxattr(target, key, value)
            os.fchmod(target, stat.S_IMODE(status.st_mode))
            os.utime(target, ns=(time, time))
        finally:
            os.close(target)
    finally:
        os.close(source)
