"""How a child tells its caller what went wrong, and what the caller makes of it."""

from __future__ import annotations

import os

from rootless.errors import CannotInvokeError, CommandNotFoundError, RootlessError
from rootless.init import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from rootless.init.wire import Channel, Value

_LONGEST_MESSAGE = 4096


def report(caller: Channel, error: BaseException, doing: str = "start the container") -> int:
    """Send a failure to the caller, without the traceback module, which would read files; the exit code for it.

    ``doing`` completes "cannot …" for an error without a message of its own.
    """
    if isinstance(error, RootlessError):
        message, hint, code = error.message, error.hint, error.exit_code
    elif isinstance(error, OSError):
        where = f" ({os.fsdecode(error.filename)})" if isinstance(error.filename, str | bytes) else ""
        message, hint, code = f"cannot {doing}: {error.strerror}{where}", "", 125
    else:
        line = error.__traceback__
        while line is not None and line.tb_next is not None:
            line = line.tb_next
        where = f" ({line.tb_frame.f_code.co_name}:{line.tb_lineno})" if line else ""
        message, hint, code = f"cannot {doing}: {type(error).__name__}: {error}{where}", "", 125
    caller.send(wire.FAILED, message[:_LONGEST_MESSAGE], hint, code)
    return code


def failure(values: tuple[Value, ...]) -> RootlessError:
    """The error that a message of the kind FAILED tells."""
    message, hint, code = values
    kind = {126: CannotInvokeError, 127: CommandNotFoundError}.get(int(str(code)), RootlessError)
    return kind(str(message), str(hint), int(str(code)))


def await_program(channel: Channel, forward: Callable[[int], None] | None) -> None:
    """Wait after START until the program runs: the other end of ``channel`` is closed by its execve(2).

    ``forward`` is given the descriptor of a seccomp listener. Raises ``RootlessError``, with exit code 126 or 127 where
    the program cannot be executed.
    """
    program, report = b"", -1
    while True:
        kind, values = channel.receive()
        if kind == wire.LISTENER and forward and isinstance(values[-1], int):
            forward(values[-1])
            channel.send(wire.START)
        elif kind == wire.AIRLOCK and isinstance(values[0], bytes) and isinstance(values[1], int):
            program, report = values[0], values[1]
        else:
            break
    if kind == wire.FAILED:
        raise failure(values)
    if report >= 0:
        from rootless.init import airlock
        from rootless.init.execute import refusal

        number = airlock.reported(report)
        if number:
            error = refusal(os.fsdecode(program), number)
            raise failure((error.message, error.hint, error.exit_code))
