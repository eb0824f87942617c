"""The descriptors that a program gets beside 0, 1 and 2."""

from __future__ import annotations

import os

from rootless.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_LARGEST = 1 << 20


def preserved(count: str | None, named: Sequence[str] = ()) -> list[int]:
    """The ``count`` ones from 3 on (``--preserve-fds``) and those that are ``named`` (``--preserve-fd``).

    To be asked before this program opens files of its own. Raises ``UsageError`` for those that the caller lacks.
    """
    words = [count or "0", *named]
    if not all(word.isascii() and word.isdigit() and int(word) <= _LARGEST for word in words):
        raise UsageError("cannot preserve file descriptors: --preserve-fds and --preserve-fd take whole numbers")
    first, *others = map(int, words)
    found = sorted({*range(3, 3 + first), *others} - {0, 1, 2})
    for fd in found:
        try:
            os.fstat(fd)
        except OSError:
            raise UsageError(f"cannot preserve file descriptor {fd}: it is not open") from None
    return found
