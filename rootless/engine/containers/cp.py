"""``cp``: files between the host and containers, and between two containers.

::

    one side: reads a tree by descriptors, writes an archive ──pipe──→ the other side: places its members

The host's side has the caller's own rights and sees the host's paths. The container's side is root of the container's
user namespace and sees nothing but what is below the container's root, whatever links and exchanges there are
(CVE-2018-15664, CVE-2019-10152, CVE-2026-41568).
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat

from rootless.engine.containers.known import known
from rootless.engine.containers.view import inside
from rootless.engine.images.worker import Send, Worker
from rootless.errors import NotFoundError, RootlessError, UsageError
from rootless.init import identity
from rootless.init.plan import User
from rootless.linux.libc import PROC_MAGIC, file_system_type
from rootless.linux.path import open_inside
from storage.archive.limits import Limits
from storage.archive.pack import Packer, pack_tree
from storage.archive.put import Putter, chunks_of
from storage.archive.stream import LayerStream
from storage.archive.tar_writer import TarWriter
from storage.errors import NotFoundError as NotInStoreError
from storage.errors import StorageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

    from rootless.engine.containers.container import Container
    from rootless.engine.context import Engine

_SYSFS_MAGIC = 0x62656572  # statfs(2)
_NOT_COPIED = ("dev", "proc", "sys")  # of a whole root: what the runtime mounts
_MOST_LINKS = 40
_PIPE_SIZE = 1 << 20
_SHOWN = 5
_NO_FILE = "no such file or directory"
_NO_DIRECTORY = "destination must be a directory when copying a directory"
_ANY_SIZE = Limits(bytes=1 << 60, entries=1 << 40)


class _Found:
    """What a path of a container or of the host leads to, with its last links followed.

    ``status`` is None if there is nothing; then ``head`` exists, unless ``missing`` says that it does not.
    """

    __slots__ = ("head", "missing", "name", "status")

    def __init__(self, head: str, name: str, status: os.stat_result | None, missing: bool = False) -> None:
        self.head = head
        self.name = name
        self.status = status
        self.missing = missing

    @property
    def is_directory(self) -> bool:
        """Whether it is a directory."""
        return self.status is not None and stat.S_ISDIR(self.status.st_mode)


class _Target:
    """Where the members go: the directory, and the name that the topmost of them gets ('': those of the source)."""

    __slots__ = ("directory", "name")

    def __init__(self, directory: str, name: str) -> None:
        self.directory = directory
        self.name = name


def copy(engine: Engine, source: str, target: str, values: Mapping[str, Any]) -> None:
    """Copy ``[CONTAINER:]PATH`` to ``[CONTAINER:]PATH``; ``-`` instead of a path of the host is a tar stream.

    ``values``: ``archive`` (on unless false): what comes into a container belongs to its user; ``overwrite``: a
    directory may take the place of a file, and the reverse. Raises RootlessError, StorageError, OSError.
    """
    source_name, source_path = _split(source)
    target_name, target_path = _split(target)
    if not source_path or not target_path:
        raise UsageError(f"invalid arguments {source!r}, {target!r}: you must specify paths")
    from_container = _container(engine, source_name) if source_name else None
    into_container = _container(engine, target_name) if target_name else None
    if into_container is not None:
        into = _Into(into_container, target_name, target_path, values)
        if from_container is not None and from_container.id == into_container.id:
            _within(engine, from_container, _From(from_container, source_name, source_path), into)
        elif from_container is not None:
            _between(engine, _From(from_container, source_name, source_path), into)
        else:
            _from_host(engine, source_path, into)
    elif from_container is not None:
        _to_host(engine, _From(from_container, source_name, source_path), target_path, bool(values.get("overwrite")))
    else:
        raise UsageError(f"invalid arguments {source!r}, {target!r}: you must specify one container", "CONTAINER:PATH")


def _split(text: str) -> tuple[str, str]:
    """Container and path; what begins with a dot or a slash is a path of the host, whatever colons it has."""
    if text[:1] in (".", "/") or ":" not in text:
        return "", text
    name, _, path = text.partition(":")
    return name, path


def _container(engine: Engine, name: str) -> Container:
    try:
        return known(engine, engine.store.containers.find(name))
    except NotInStoreError:
        raise NotFoundError(f'container "{name}" does not exist', "rootless ps -a lists the containers") from None


# Paths.


def _find_inside(root: int, path: str) -> _Found:
    """Follow ``path``, which is absolute, inside ``root`` to its end; a link to nothing gives the place it names."""
    for _ in range(_MOST_LINKS):
        head, _, name = path.rstrip("/").rpartition("/")
        if name in ("", ".", ".."):
            head, name = path, ""
        try:
            parent = open_inside(root, head or "/", os.O_PATH | os.O_DIRECTORY)
        except (FileNotFoundError, NotADirectoryError):
            return _Found(head, name, None, missing=True)
        try:
            if not name:
                return _Found(head or "/", "", os.fstat(parent))
            try:
                status = os.lstat(name, dir_fd=parent)
            except FileNotFoundError:
                return _Found(head or "/", name, None)
            if not stat.S_ISLNK(status.st_mode):
                return _Found(head or "/", name, status)
            link = os.readlink(name, dir_fd=parent)
        finally:
            os.close(parent)
        path = link if link.startswith("/") else f"{head}/{link}"
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)


def _find_on_host(path: str) -> _Found:
    """The same for a path of the host, whose last link keeps its name; the caller's own links are followed."""
    full = os.path.abspath(path)
    head, _, name = full.rpartition("/")
    try:
        return _Found(head or "/", name, os.stat(full))
    except FileNotFoundError:
        return _Found(head or "/", name, None, missing=not os.path.isdir(head or "/"))


def _is_content(path: str) -> bool:
    """Whether the path of a directory means what is in it."""
    return path == "." or path.endswith("/.")


def _target(found: _Found, path: str, where: str, is_directory: bool, content: bool, name: str) -> _Target:
    """Where a source goes whose own name is ``name`` (podman-cp(1))."""
    if found.status is None or (path.endswith("/") and not found.is_directory):
        if path.endswith("/") or found.missing:
            raise RootlessError(f'"{path}" could not be found on {where}: {_NO_FILE}', "make the directory first")
        return _Target(found.head, found.name)
    if found.is_directory:
        directory = f"{found.head.rstrip('/')}/{found.name}" if found.name else found.head
        return _Target(directory, "" if content else name)
    if is_directory:
        raise RootlessError(_NO_DIRECTORY)
    return _Target(found.head, found.name)


# The two ends that are containers.


class _From:
    """A path of a container as a source."""

    __slots__ = ("container", "path", "shown", "where")

    def __init__(self, container: Container, name: str, path: str) -> None:
        self.container = container
        self.shown = path
        self.path = _absolute(container, path)
        self.where = f"container {name}"

    def look(self, root: int) -> tuple[bool, bool, str]:
        """(is it a directory, is its content meant, its name). Raises RootlessError if it is not there."""
        fd = self._open(root)
        try:
            status = os.fstat(fd)
            real = os.readlink(f"/proc/self/fd/{fd}")
            is_root = os.path.samestat(status, os.fstat(root))
        finally:
            os.close(fd)
        is_directory = stat.S_ISDIR(status.st_mode)
        if self.shown.endswith("/") and not is_directory:
            raise self._missing("not a directory")
        content = is_directory and (_is_content(self.shown) or is_root)
        return is_directory, content, "" if is_root else real.rpartition("/")[2]

    def _open(self, root: int) -> int:
        try:
            fd = open_inside(root, self.path)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR):
                raise self._missing(_NO_FILE) from None
            raise self._missing(os.strerror(error.errno or 0).lower()) from None
        if file_system_type(fd) in (PROC_MAGIC, _SYSFS_MAGIC):
            os.close(fd)
            raise RootlessError(
                f"cannot copy {self.shown}: its files are the kernel's and have no size", "read them with rootless exec"
            )
        return fd

    def _missing(self, reason: str) -> RootlessError:
        return RootlessError(f'"{self.shown}" could not be found on {self.where}: {reason}')

    def pack(self, root: int, output: int, name: str, stream: bool) -> bytes:
        """Write the archive; what could not be read, each with a NUL behind. ``name`` is that of the topmost member."""
        fd = self._open(root)
        without = _NOT_COPIED if os.path.samestat(os.fstat(fd), os.fstat(root)) else ()
        unread: list[str] = []
        try:
            _pack(fd, output, name, stream, without, lambda path, _: unread.append(f"{path}\0"))
        finally:
            os.close(fd)
        return "".join(unread).encode("utf-8", "surrogateescape")


class _Into:
    """A path of a container as a target."""

    __slots__ = ("chown", "container", "name", "overwrite", "path", "shown", "where")

    def __init__(self, container: Container, name: str, path: str, values: Mapping[str, Any]) -> None:
        self.container = container
        self.name = name
        self.shown = path
        self.path = _absolute(container, path)
        self.where = f"container {name}"
        self.chown = values.get("archive") is not False
        self.overwrite = bool(values.get("overwrite"))

    def find(self, root: int, is_directory: bool, content: bool, name: str) -> _Target:
        """Where a source goes, followed inside ``root``."""
        return _target(_find_inside(root, self.path), self.shown, self.where, is_directory, content, name)

    def check_stream(self, root: int) -> _Target:
        """The directory for a stream."""
        found = _find_inside(root, self.path)
        if found.status is None and self.shown.endswith("/"):
            raise RootlessError(f'"{self.shown}" could not be found on {self.where}: {_NO_FILE}')
        if not found.is_directory:
            raise RootlessError("destination must be a directory when copying from stdin")
        return self.find(root, True, True, "")

    def put(self, root: int, chunks: Iterable[bytes], target: _Target) -> bytes:
        """Place the members; how many attributes were not taken, as text."""
        owner = None
        if self.chown:
            text = self.container.extras.get("user") or ""
            user = identity.resolve(root, User(text, 0, 0, [], [], False, None))
            owner = user.uid, user.gid
        os.umask(0)
        directory = target.directory
        placing = Putter(
            root, directory if directory != "/" else "/.", owner=owner, keep_owners=not self.chown,
            overwrite=self.overwrite,
        )  # fmt: skip
        _put(placing, chunks, f"container {self.name}", directory)
        return str(placing.unset).encode() if placing.unset else b""


def _absolute(container: Container, path: str) -> str:
    """A path of the container; a relative one begins at its working directory."""
    if path.startswith("/"):
        return path
    return f"{container.spec['process'].get('cwd', '/').rstrip('/')}/{path}"


# What both kinds of ends do.


def _pack(
    fd: int, output: int, name: str, stream: bool, without: Iterable[str], skip: Callable[[str, OSError], None]
) -> None:
    """Write what the O_PATH descriptor ``fd`` is as an archive; of a directory without ``name`` only the content.

    ``stream``: it leaves this program, so that every reader must understand it.
    """
    writer = TarWriter(output, exact_times=not stream)
    packer = Packer(writer, sparse=not stream)
    status = os.fstat(fd)
    prefix = os.fsencode(name)
    if stat.S_ISDIR(status.st_mode):
        directory = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if prefix:
                packer.add_directory(prefix, directory, status)
            pack_tree(packer, directory, prefix, skip, frozenset(without))
        finally:
            os.close(directory)
    else:
        packer.add_opened(prefix, fd, status)
    writer.finish()


def _put(placing: Putter, chunks: Iterable[bytes], where: str, directory: str) -> None:
    try:
        placing.put(chunks, _ANY_SIZE)
    except StorageError as error:
        raise RootlessError(f"copying to {where}: {error.message}", error.hint) from None
    except OSError as error:
        name = error.filename if isinstance(error.filename, str) else ""
        path = f"{directory.rstrip('/')}/{name}"
        reason = os.strerror(error.errno or errno.EIO).lower()
        if error.errno == errno.EEXIST:
            hint = "--overwrite lets a directory take the place of a file, and the reverse"
            raise RootlessError(f'copying to {where}: error creating "{path}": open {path}: {reason}', hint) from None
        if error.errno == errno.EINVAL and placing.keeps_owners:
            reason = "its owner is not in the container's id map"
        raise RootlessError(f'copying to {where}: error creating "{path}": {reason}') from None


def _pipe() -> tuple[int, int]:
    reader, writer = os.pipe()
    try:
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, _PIPE_SIZE)
    except OSError:
        pass  # the user's share of pipe memory is used up
    return reader, writer


def _flow(pack: Callable[[int], bytes], put: Callable[[int], bytes], tell: Callable[[str], None]) -> None:
    """Let ``pack`` write in a process of its own what ``put`` reads here; its failure counts before that of ``put``."""
    reader, writer = _pipe()

    def work(send: Send) -> None:
        os.close(reader)
        try:
            unread = pack(writer)
        except BrokenPipeError:
            return  # the other side has failed and tells why
        for path in unread.decode("utf-8", "surrogateescape").split("\0"):
            if path:
                send({"kind": "unread", "path": path})

    packing = Worker(work)
    os.close(writer)
    failure: BaseException | None = None
    unset = b""
    try:
        unset = put(reader)
    except BaseException as error:
        failure = error
    finally:
        os.close(reader)
    unread: list[str] = []
    try:
        while (messages := packing.receive()) is not None:
            unread += [message["path"] for message in messages]
    except BaseException:
        packing.kill()
        raise
    if failure is not None:
        raise failure
    _tell(tell, unread, int(unset or b"0"))


def _tell(tell: Callable[[str], None], unread: list[str], unset: int) -> None:
    for path in unread[:_SHOWN]:
        tell(f"WARNING: {path!r} is left out: it cannot be read")
    if unread[_SHOWN:]:
        tell(f"WARNING: {len(unread) - _SHOWN} more are left out")
    if unset:
        tell(f"WARNING: {unset} extended attributes are left out: they could not be set")


# The five ways.


def _within(engine: Engine, container: Container, source: _From, into: _Into) -> None:
    """From a container to itself: one view of it serves both ends."""

    def work(root: int) -> bytes:
        is_directory, content, name = source.look(root)
        target = into.find(root, is_directory, content, name)
        notes: list[str] = []
        _flow(
            lambda output: source.pack(root, output, target.name, False),
            lambda reader: into.put(root, chunks_of(reader), target),
            notes.append,
        )
        return "\0".join(notes).encode("utf-8", "surrogateescape")

    for line in inside(engine, container, work).decode("utf-8", "surrogateescape").split("\0"):
        if line:
            engine.tell(line)


def _between(engine: Engine, source: _From, into: _Into) -> None:
    is_directory, content, name = _look(engine, source)
    target = _find(engine, into, is_directory, content, name)
    _flow(
        lambda output: inside(engine, source.container, lambda root: source.pack(root, output, target.name, False)),
        lambda reader: inside(engine, into.container, lambda root: into.put(root, chunks_of(reader), target)),
        engine.tell,
    )


def _look(engine: Engine, source: _From) -> tuple[bool, bool, str]:
    def look(root: int) -> bytes:
        is_directory, content, name = source.look(root)
        return f"{int(is_directory)}{int(content)}{name}".encode("utf-8", "surrogateescape")

    text = inside(engine, source.container, look).decode("utf-8", "surrogateescape")
    return text[0] == "1", text[1] == "1", text[2:]


def _find(engine: Engine, into: _Into, is_directory: bool, content: bool, name: str) -> _Target:
    def find(root: int) -> bytes:
        target = into.find(root, is_directory, content, name)
        return f"{target.directory}\0{target.name}".encode("utf-8", "surrogateescape")

    directory, _, chosen = inside(engine, into.container, find).decode("utf-8", "surrogateescape").partition("\0")
    return _Target(directory, chosen)


def _from_host(engine: Engine, path: str, into: _Into) -> None:
    if path == "-":
        _from_stream(engine, into)
        return
    found = _find_on_host(path)
    if found.status is None or (path.endswith("/") and not found.is_directory):
        raise RootlessError(f'"{path}" could not be found on the host: {_NO_FILE}')
    handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    content = found.is_directory and (_is_content(path) or not found.name)

    def work(root: int) -> bytes:
        target = into.find(root, found.is_directory, content, found.name)
        os.write(order, f"{target.name}\0".encode("utf-8", "surrogateescape"))
        os.close(order)
        return into.put(root, chunks_of(reading), target)

    def fail(name: str, error: OSError) -> None:
        raise RootlessError(f"cannot read {os.path.join(path, name)}: {error.strerror}")

    def pack(output: int) -> bytes:
        os.close(order)
        name = b""
        while not name.endswith(b"\0") and (part := os.read(ordered, 4096)):
            name += part
        if name:  # else the other side has found no place for it
            _pack(handle, output, os.fsdecode(name.rstrip(b"\0")), False, (), fail)
        return b""

    # The name of the topmost member is known to the container's side alone, which has only one look at its tree.
    ordered, order = os.pipe()
    reading = -1

    def put(reader: int) -> bytes:
        nonlocal reading
        reading = reader
        os.close(ordered)
        try:
            return inside(engine, into.container, work)
        finally:
            os.close(order)

    _flow(pack, put, engine.tell)


def _from_stream(engine: Engine, into: _Into) -> None:
    """The members of an archive on standard input, compressed or not."""
    if os.isatty(0):
        raise UsageError("cannot read an archive from a terminal", "redirect standard input")

    def work(root: int) -> bytes:
        target = into.check_stream(root)
        with open(0, "rb", buffering=0, closefd=False) as file:
            stream = LayerStream(file, _ANY_SIZE)
            return into.put(root, _checked(stream), target)

    unset = inside(engine, into.container, work)
    _tell(engine.tell, [], int(unset or b"0"))


def _checked(stream: LayerStream) -> Iterable[bytes]:
    """The chunks of an archive. Raises RootlessError, before the first, if it is none."""
    chunks = iter(stream)
    try:
        first = b""
        while len(first) < 512 and (chunk := next(chunks, b"")):
            first += chunk
    except StorageError:
        first = b""
    if len(first) < 512 or (first[257:262] != b"ustar" and not _is_old_header(first)):
        raise RootlessError("source must be a (compressed) tar archive when copying from stdin")
    yield first
    yield from chunks


def _is_old_header(block: bytes) -> bool:
    """Whether it is a header of tar before POSIX: its checksum fits."""
    text = block[148:156].strip(b" \0")
    if not text.isdigit() or any(digit > 0x37 for digit in text):
        return False
    return sum(block[:148]) + sum(block[156:512]) + 8 * 32 == int(text, 8)


def _to_host(engine: Engine, source: _From, path: str, overwrite: bool) -> None:
    is_directory, content, name = _look(engine, source)
    if path == "-":
        if os.isatty(1):
            raise UsageError("cannot write an archive to a terminal", "redirect standard output")
        unread = inside(
            engine, source.container, lambda root: source.pack(root, 1, "" if content else name, True)
        ).decode("utf-8", "surrogateescape")
        _tell(engine.tell, unread.split("\0")[:-1], 0)
        return
    found = _find_on_host(path)
    if found.status is not None and not (found.is_directory or stat.S_ISREG(found.status.st_mode)):
        full = os.path.abspath(path)
        raise RootlessError(f'invalid destination: "{full}" must be a directory or a regular file')
    target = _target(found, path, "the host", is_directory, content, name)
    directory = os.open(target.directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    placing = Putter(directory, overwrite=overwrite, skip_devices=True)

    def put(reader: int) -> bytes:
        umask = os.umask(0)
        try:
            _put(placing, chunks_of(reader), "host", target.directory)
        finally:
            os.umask(umask)
        return str(placing.unset).encode()

    _flow(
        lambda output: inside(engine, source.container, lambda root: source.pack(root, output, target.name, False)),
        put,
        engine.tell,
    )

