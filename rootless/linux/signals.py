"""Signals without the ``signal`` module, which imports ``enum``."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
else:
    import _signal

SIGHUP, SIGINT, SIGQUIT, SIGKILL, SIGPIPE, SIGTERM, SIGCHLD = 1, 2, 3, 9, 13, 15, 17
SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU, SIGWINCH = 19, 20, 21, 22, 28

_NAMES = (
    "HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP TTIN TTOU "
    "URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS"
).split()
_RTMIN, _RTMAX = 34, 64
# All that a program may handle: 32 and 33 are the C library's own.
ALL = (*range(1, 32), *range(34, 65))
ENDING = (SIGHUP, SIGINT, SIGQUIT, SIGTERM)
"""Those by which a user or a manager asks a process to end."""


def number(text: str) -> int:
    """The number of a signal given as ``9``, ``KILL``, ``SIGKILL`` or ``RTMIN+3``. Raises ``ValueError``."""
    if text.isascii() and text.isdigit():
        value = int(text)
        if 1 <= value <= _RTMAX:
            return value
        raise ValueError(text)
    name = text.upper().removeprefix("SIG")
    if name in _NAMES:
        return _NAMES.index(name) + 1
    if name in ("CLD", "POLL", "IOT"):
        return {"CLD": SIGCHLD, "POLL": 29, "IOT": 6}[name]
    for base, start, sign in (("RTMIN", _RTMIN, 1), ("RTMAX", _RTMAX, -1)):
        rest = name.removeprefix(base)
        if rest == name:
            continue
        if not rest:
            return start
        digits = rest.lstrip("+-")
        value = start + sign * int(digits) if digits.isdigit() else 0
        if _RTMIN <= value <= _RTMAX:
            return value
    raise ValueError(text)


def name(value: int) -> str:
    """``SIGTERM`` for 15, ``SIGRTMIN+1`` for 35."""
    if 1 <= value <= len(_NAMES):
        return "SIG" + _NAMES[value - 1]
    return "SIGRTMIN" if value == _RTMIN else f"SIGRTMIN+{value - _RTMIN}"


def block_all() -> None:
    """Block every signal."""
    _signal.pthread_sigmask(_signal.SIG_BLOCK, ALL)


def end_at(values: tuple[int, ...]) -> None:
    """Let this process end at each of the signals, with the exit code 128+N."""

    def end(number: int, _: object) -> None:
        os._exit(128 + number)

    for value in values:
        _signal.signal(value, end)
    _signal.pthread_sigmask(_signal.SIG_UNBLOCK, values)


def reset() -> None:
    """Give every signal its default action and unblock all: what a new program expects."""
    default = _signal.SIG_DFL
    for value in _changed():
        _signal.signal(value, default)
    _signal.pthread_sigmask(_signal.SIG_SETMASK, ())


def _changed() -> list[int]:
    """The signals that do not have their default action."""
    default = _signal.SIG_DFL
    return [value for value in ALL if value not in (SIGKILL, SIGSTOP) and _signal.getsignal(value) != default]


def wait(values: list[int]) -> int:
    """Wait for one of the blocked signals ``values`` and return its number (sigwait(3))."""
    return int(_signal.sigwait(values))
