"""The log of events: a line of JSON for each, appended by one write(2), so that writers need no lock.

A leaf that loads nothing, for whoever has no room for more: the monitor of a container writes its end here. When the
file has grown to ``MAX_SIZE`` it is renamed to ``PATH.1`` in place of the one before, so both together stay below twice
that and a line. Nothing here raises: a command does not fail because its event was lost.
"""

from __future__ import annotations

import os
import time

try:
    from _json import encode_basestring_ascii as quoted
except ImportError:
    from json.encoder import py_encode_basestring_ascii as quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_SIZE = 2 << 20
"""Bytes after which a new file begins; about 6,000 events."""

MAX_LINE = 64 << 10
"""Bytes of one event. What has more is written without its attributes (labels, as a rule)."""


_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


def descriptor(path: str) -> int:
    """The file, open for whoever may not open it later; -1 where it cannot be."""
    try:
        return os.open(path, _FLAGS, 0o600)
    except OSError:
        return -1


def append(
    path: str,
    kind: str,
    action: str,
    object_id: str,
    name: str = "",
    image: str = "",
    attributes: Mapping[str, str] | None = None,
    exit_code: int | None = None,
    max_size: int = MAX_SIZE,
    older: int = -1,
) -> None:
    """Put down that ``action`` happened to an object of ``kind`` (podman's words: container, image, volume…) now.

    ``exit_code``: that of a container which has died. ``attributes``: a container's labels and what else is to be told.
    ``older``: a descriptor to write to where the file may not be opened, as it has been replaced meanwhile.
    """
    try:
        line = _line(kind, action, object_id, name, image, attributes or {}, exit_code)
        if len(line) > MAX_LINE:
            line = _line(kind, action, object_id, name[:1024], image[:1024], {}, exit_code)
        try:
            fd = os.open(path, _FLAGS, 0o600)
        except PermissionError:
            os.write(older, line)
            return
        try:
            os.write(fd, line)
            if os.lseek(fd, 0, os.SEEK_CUR) >= max_size:
                _rotate(path, fd)
        finally:
            os.close(fd)
    except (OSError, TypeError):
        return


def _line(
    kind: str,
    action: str,
    object_id: str,
    name: str,
    image: str,
    attributes: Mapping[str, str],
    exit_code: int | None,
) -> bytes:
    ended = "" if exit_code is None else f',"ContainerExitCode":{exit_code:d}'
    pairs = ",".join([f"{quoted(key)}:{quoted(value)}" for key, value in attributes.items()])
    return (
        f'{{"timeNano":{time.time_ns()},"Type":{quoted(kind)},"Status":{quoted(action)},"ID":{quoted(object_id)}'
        f',"Name":{quoted(name)},"Image":{quoted(image)}{ended},"Attributes":{{{pairs}}}}}\n'
    ).encode("ascii")


def _rotate(path: str, fd: int) -> None:
    """Give the full file its second name, unless another writer has done it: the file's own lock decides who does."""
    import fcntl

    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    mine, current = os.fstat(fd), os.lstat(path)
    if (mine.st_dev, mine.st_ino) == (current.st_dev, current.st_ino):
        os.rename(path, f"{path}.1")
