"""How a child tells its caller what went wrong."""

from __future__ import annotations

import os

from rootless.errors import RootlessError
from rootless.init import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.init.wire import Channel

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
