"""``--output``: the result of a build as files."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from rootless.engine.containers.export import pack_all
from rootless.engine.containers.stack import of_layers
from rootless.engine.images.transports import destinations
from rootless.engine.images.transports.outgoing import no_report, of_store
from rootless.engine.images.worker import Worker
from rootless.engine.outfile import new_file
from rootless.errors import RootlessError, UsageError
from storage.archive.put import Putter
from storage.errors import StorageError, os_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from rootless.build.state import State
    from rootless.engine.context import Engine
    from rootless.engine.images.worker import Send
    from storage.images import Image

FILES, TAR, OCI, DOCKER, IMAGE, REGISTRY = KINDS = ("local", "tar", "oci", "docker", "image", "registry")
_KEYS = frozenset(("type", "dest", "tar", "name", "push"))
_CHUNK = 1 << 20
_STDOUT = "-"


class Output(NamedTuple):
    """``dest`` is a path, or ``-`` for standard output; ``archive``: of oci and docker, in one file; ``names`` and
    ``push``: of an image."""

    kind: str
    dest: str
    archive: bool = True
    names: tuple[str, ...] = ()
    push: bool = False

    @property
    def to_stdout(self) -> bool:
        """Whether it is written to standard output."""
        return self.dest == _STDOUT


def parse(texts: Iterable[str]) -> list[Output]:
    """The values of ``--output``: a directory, ``-`` for an archive on standard output, or ``type=KIND,dest=PATH``.

    Raises UsageError.
    """
    found = [_one(text) for text in texts]
    if sum(output.to_stdout for output in found) > 1:
        raise UsageError("only one --output can be standard output")
    if any(output.to_stdout for output in found) and os.isatty(1):
        raise UsageError("cannot write an archive to a terminal", "give a file: --output type=tar,dest=FILE")
    return found


def _one(text: str) -> Output:
    if text == _STDOUT:
        return Output(TAR, _STDOUT)
    if "=" not in text:
        return Output(FILES, text)
    values: dict[str, str] = {}
    for field in text.split(","):
        key, equals, value = field.partition("=")
        if key not in _KEYS or not equals:
            raise UsageError(f"cannot use {field[:80]!r} in --output", "the fields are " + ", ".join(sorted(_KEYS)))
        values[key] = value
    kind, dest = values.get("type", FILES), values.get("dest", "")
    if kind not in KINDS:
        raise UsageError(f"cannot use --output type={kind[:40]}", "the types are " + ", ".join(KINDS))
    if kind == FILES and dest in ("", _STDOUT):
        raise UsageError("--output type=local needs a directory", "write --output type=local,dest=DIR")
    archive = _boolean(values.get("tar", "true"), "tar")
    if kind in (OCI, DOCKER, TAR) and not dest:
        dest = _STDOUT
    if not archive and (kind != OCI or dest == _STDOUT):
        raise UsageError("--output tar=false is for type=oci,dest=DIR")
    push = kind == REGISTRY or _boolean(values.get("push", "false"), "push")
    names = tuple(name for name in values.get("name", "").split(" ") if name)
    return Output(kind, dest if kind not in (IMAGE, REGISTRY) else "", archive, names, push)


def _boolean(text: str, key: str) -> bool:
    if text not in ("true", "false", "1", "0"):
        raise UsageError(f"cannot use {key}={text[:40]} in --output: neither true nor false")
    return text in ("true", "1")


def write(engine: Engine, output: Output, state: State, image: Image) -> None:
    """Write one output. Raises RootlessError, StorageError."""
    umask = engine.store.caller_umask
    if output.kind == FILES:
        _directory(engine, output.dest, state)
    elif output.kind == TAR:
        _to_file(output.dest, umask, lambda fd: _pack(engine, state, fd))
    elif output.kind in (OCI, DOCKER):
        outgoing = of_store(engine.store, image, tuple(image.names[:1]))
        if not output.archive:
            destinations.write_layout_directory(output.dest, [(outgoing, outgoing.names)], umask, no_report)
        elif output.kind == OCI:
            _to_file(output.dest, umask, lambda fd: destinations.write_layout_archive(
                fd, output.dest, [(outgoing, outgoing.names)], no_report))  # fmt: skip
        else:
            _to_file(output.dest, umask, lambda fd: destinations.write_docker_archive(
                fd, output.dest, [outgoing], no_report))  # fmt: skip


def _to_file(path: str, umask: int, work: Callable[[int], object]) -> None:
    if path == _STDOUT:
        work(1)
        return
    with new_file(path, umask) as fd:
        work(fd)


def _pack(engine: Engine, state: State, output: int) -> None:
    """The archive of all files, as the image has them."""
    stack = of_layers(engine, state.diff_ids)

    def work() -> bytes:
        pack_all(stack, output)
        return b""

    try:
        engine.in_userns(work)
    except OSError as error:
        raise RootlessError(f"cannot write the files of the image: {error.strerror}") from None


def _directory(engine: Engine, path: str, state: State) -> None:
    """All files into a directory, which is made if need be; they belong to whoever builds."""
    umask = os.umask(engine.store.caller_umask)
    try:
        os.makedirs(path, exist_ok=True)
        root = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise RootlessError(f"cannot write to {path}: {error.strerror}") from None
    finally:
        os.umask(umask)
    reader, writer = os.pipe()

    def packing(send: Send) -> None:
        os.close(reader)
        _pack(engine, state, writer)

    worker = Worker(packing)
    os.close(writer)
    umask = os.umask(0)
    try:
        Putter(root, overwrite=True, skip_devices=True).put(_chunks(reader))
        while worker.receive() is not None:
            pass
    except StorageError as error:
        raise RootlessError(f"cannot write to {path}: {error.message}", error.hint) from None
    except OSError as error:
        raise os_error(f"cannot write to {path}", error) from error
    finally:
        os.umask(umask)
        worker.kill()
        os.close(reader)
        os.close(root)


def _chunks(fd: int) -> Iterator[bytes]:
    while chunk := os.read(fd, _CHUNK):
        yield chunk
