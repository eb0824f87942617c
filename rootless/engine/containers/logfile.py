"""The files of a container's log: PATH, and PATH.1, PATH.2… from before each rotation, read as one."""

from __future__ import annotations

import os

from rootless.errors import RootlessError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_PIECE = 1 << 20
_BLOCK = 1 << 16
_MOST_FILES = 1000
_TRIES = 100


class LogFile:
    """A reader of the log at ``path``. Descriptors of files not yet read are held, so that no rotation loses them."""

    __slots__ = ("_fds", "_rest", "path")

    def __init__(self, path: str) -> None:
        self.path = path
        self._fds: list[int] = []
        self._rest = b""

    def open(self) -> bool:
        """Open what there is, the oldest first; False where there is no log (yet)."""
        for _ in range(_TRIES):
            fds = self._open_from(self._oldest())
            if fds is not None:
                self._fds = fds
                return bool(fds)
        raise RootlessError(f"cannot read the log {self.path}: it is rotated faster than it can be opened")

    def close(self) -> None:
        """Let go of the files."""
        for fd in self._fds:
            os.close(fd)
        self._fds = []

    @property
    def fd(self) -> int:
        """The file that is written to, as far as is known; -1 for none."""
        return self._fds[-1] if self._fds else -1

    def _name(self, number: int) -> str:
        return f"{self.path}.{number}" if number else self.path

    def _oldest(self) -> int:
        number = 0
        while number < _MOST_FILES and os.path.lexists(self._name(number + 1)):
            number += 1
        return number

    def _open_from(self, number: int) -> list[int] | None:
        """The files from PATH.``number`` to PATH; None if they were renamed meanwhile."""
        fds: list[int] = []
        try:
            for index in range(number, -1, -1):
                fds.append(self._open_one(self._name(index)))
        except FileNotFoundError:
            pass
        if len(fds) == number + 1 and all(_is(fd, self._name(number - index)) for index, fd in enumerate(fds)):
            return fds
        for fd in fds:
            os.close(fd)
        # Nothing was ever written, unless the last rename of a rotation is yet to be followed by a new file.
        return [] if number == 0 and not self._oldest() else None

    def _open_one(self, path: str) -> int:
        try:
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise RootlessError(f"cannot read the log {path}: {error.strerror}") from None

    def read(self) -> Iterator[bytes]:
        """Whole lines, up to the end of what is written by now.

        The rest of a line that has no end yet is kept for the next call.
        """
        while self._fds:
            fd = self._fds[0]
            while data := os.read(fd, _PIECE):
                end = data.rfind(b"\n") + 1
                if not end:
                    self._rest += data
                    continue
                piece = self._rest + data[:end] if self._rest else data[:end]
                self._rest = data[end:]
                yield piece
            if len(self._fds) == 1:
                return
            os.close(self._fds.pop(0))
            self._rest = b""

    def renew(self) -> bool:
        """Take up the files that a rotation has begun; whether there was one. They are read by the next ``read``."""
        if not self._fds:
            return self.open()
        current = self._fds[-1]
        if _is(current, self.path):
            return False
        for _ in range(_TRIES):
            number = next((each for each in range(1, _MOST_FILES) if _is(current, self._name(each))), 0)
            # One that is gone was rotated away: what is left begins with the oldest.
            fds = self._open_from(number - 1 if number else self._oldest())
            if fds:
                self._fds += fds
                return True
            if fds is not None or not os.path.lexists(self.path):
                return False  # the log was removed, or its new file is not there yet
        return False

    def seek_last(self, lines: int) -> None:
        """Begin with the last ``lines`` whole lines, with the parts before and after each; with 0 at the end."""
        if not lines:
            for older in self._fds[:-1]:
                os.close(older)
            del self._fds[:-1]
            if self._fds:
                os.lseek(self._fds[0], 0, os.SEEK_END)
            return
        found = 0
        for index in range(len(self._fds) - 1, -1, -1):
            fd = self._fds[index]
            position, found = _last_lines(fd, lines, found)
            if found > lines or index == 0:
                for older in self._fds[:index]:
                    os.close(older)
                del self._fds[:index]
                os.lseek(fd, position, os.SEEK_SET)
                return


def _is(fd: int, path: str) -> bool:
    """Whether ``path`` names the open file."""
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except OSError:
        return False


def _last_lines(fd: int, wanted: int, found: int) -> tuple[int, int]:
    """(where to begin, whole lines found) looking backwards from the end of a file; ``found`` come after it.

    One line more than wanted is looked for: its end is where to begin, so that parts of the first line are included.
    """
    position = os.fstat(fd).st_size
    tail = b""
    while position > 0:
        length = min(_BLOCK, position)
        position -= length
        block = os.pread(fd, length, position) + tail
        lines = block.split(b"\n")
        after = position + len(block) - len(lines.pop())  # what has no end yet is no line
        tail = b""
        if position and lines:
            tail = block[: len(lines[0]) + 1]
            del lines[0]
        for line in reversed(lines):
            if line.split(b" ", 3)[2:3] == [b"F"]:
                found += 1
                if found > wanted:
                    return after, found
            after -= len(line) + 1
        if position and not lines:
            tail = block
    return 0, found
