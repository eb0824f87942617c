"""The command line of this process, as others see it: proc_pid_cmdline(5) and ps(1)."""

from __future__ import annotations

import os
import sys

from rootless.linux.libc import c_int, c_ulong, c_void_p, function

_memset = function("memset", c_void_p, c_int, c_ulong)
_ARG_START = 48 - 3  # proc_pid_stat(5): field 48, where the first after the bracket is field 3


def clear() -> None:
    """Make the command line empty, for good.

    Anyone who sees the process may read it, also in a container that the process joins, where the caller's paths and
    options are nobody's business. Needs the host's /proc.
    """
    start, end = _range()
    if 0 < start < end:
        _memset(start, 0, end - start)


def hide(secret: str, shown: str = "") -> None:
    """Overwrite an option's value ``secret`` in the command line, for good; ``sys.argv`` has ``shown`` in its place.

    Everybody on the machine may read it, as long as the process and what it forks run. Needs the host's /proc.
    """
    sys.argv[:] = [_value_before(word, secret) + shown if _is_value(word, secret) else word for word in sys.argv]
    with open("/proc/self/cmdline", "rb", buffering=0) as file:
        words = b"".join(iter(lambda: file.read(65536), b"")).split(b"\0")
    at = _range()[0]
    for word in words:
        text = os.fsdecode(word)
        if at and _is_value(text, secret):
            kept = len(os.fsencode(_value_before(text, secret)))
            _memset(at + kept, ord("*"), len(word) - kept)
        at += len(word) + 1


def _is_value(word: str, value: str) -> bool:
    """Whether ``word`` is ``value``, or an option that holds it: ``--name=value``, ``-nvalue``."""
    before = _value_before(word, value)
    return word.endswith(value) and (not before or before[-1] == "=" or (before[0] == "-" and len(before) == 2))


def _value_before(word: str, value: str) -> str:
    return word[: len(word) - len(value)]


def _range() -> tuple[int, int]:
    with open("/proc/self/stat", "rb", buffering=0) as file:
        fields = file.read(4096).rpartition(b")")[2].split()
    return int(fields[_ARG_START]), int(fields[_ARG_START + 1])
