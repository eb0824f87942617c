"""The caller's side of a container in the foreground: its terminal, its signals, its streams."""

from __future__ import annotations

import fcntl
import os

from rootless.linux import signals
from rootless.linux.pidfd import pidfd_send_signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Callable
    from typing import Any, Protocol

    class Process(Protocol):
        """What is needed of `runtime.launch.Process`."""

        pidfd: int
        console_fd: int

        def start(self) -> None:
            """Let the program start."""

        def wait(self) -> int:
            """The exit code, once it has ended."""

else:
    import _signal

_TIOCGWINSZ, _TIOCSWINSZ = 0x5413, 0x5414
_STDIN, _STDOUT, _STDERR = 0, 1, 2

# Not passed on: what cannot be caught, what the kernel sends this process for its own doing, and faults.
_OWN = {
    signals.SIGKILL, signals.SIGSTOP, signals.SIGCHLD, signals.SIGPIPE, signals.SIGTTIN, signals.SIGTTOU,
    signals.SIGWINCH, _signal.SIGURG, _signal.SIGILL, _signal.SIGTRAP, _signal.SIGBUS, _signal.SIGFPE,
    _signal.SIGSEGV, _signal.SIGSYS, 32, 33,
}  # fmt: skip
PROXIED = tuple(number for number in signals.ALL if number not in _OWN)
_DEADLY = (signals.SIGHUP, signals.SIGINT, signals.SIGQUIT, signals.SIGTERM)


class Terminal:
    """The caller's terminal while the container's is shown on it: of the same size and, if ``keys`` are passed on, raw.

    Leaving the block restores it, as does each signal that would end or stop this process. Where standard input is no
    terminal nothing is changed, and the size is that of standard output, if any. ``tell_size`` is called with a
    ``struct winsize`` of ioctl_tty(2).
    """

    __slots__ = ("_keys", "_old", "_saved", "_size", "_tell_size")

    def __init__(self, tell_size: Callable[[bytes], object], keys: bool = True) -> None:
        self._tell_size = tell_size
        self._keys = keys
        self._saved: list[Any] | None = None
        self._old: dict[int, Any] = {}
        self._size = next((fd for fd in (_STDIN, _STDOUT, _STDERR) if os.isatty(fd)), -1)

    def __enter__(self) -> Terminal:
        for number in _DEADLY:
            self._handle(number, self._die)
        self._handle(signals.SIGTSTP, self._stop)
        self._handle(signals.SIGWINCH, self._resize)
        self._raw()
        self._resize()
        return self

    def __exit__(self, *exception: object) -> None:
        self.restore()
        for number, old in self._old.items():
            _signal.signal(number, old)

    def restore(self) -> None:
        """Give the terminal back as it was."""
        if self._saved is None:
            return
        import termios

        saved, self._saved = self._saved, None
        self._quietly(lambda: termios.tcsetattr(_STDIN, termios.TCSADRAIN, saved))

    def _raw(self) -> None:
        """Pass every key on unchanged (cfmakeraw in termios(3))."""
        if not self._keys or not os.isatty(_STDIN):
            return
        import termios as t

        saved = t.tcgetattr(_STDIN)
        raw = [*saved[:6], list(saved[6])]
        raw[0] &= ~(t.IGNBRK | t.BRKINT | t.PARMRK | t.ISTRIP | t.INLCR | t.IGNCR | t.ICRNL | t.IXON)
        raw[1] &= ~t.OPOST
        raw[2] = raw[2] & ~(t.CSIZE | t.PARENB) | t.CS8
        raw[3] &= ~(t.ECHO | t.ECHONL | t.ICANON | t.ISIG | t.IEXTEN)
        raw[6][t.VMIN], raw[6][t.VTIME] = 1, 0
        self._saved = saved
        self._quietly(lambda: t.tcsetattr(_STDIN, t.TCSADRAIN, raw))

    def _quietly(self, change: Callable[[], None]) -> None:
        """Change the terminal also from the background, where SIGTTOU would stop this process; it may be gone."""
        old = _signal.signal(signals.SIGTTOU, _signal.SIG_IGN)
        try:
            change()
        except OSError:
            pass
        except Exception as error:  # termios.error is no OSError
            if type(error).__name__ != "error":
                raise
        finally:
            _signal.signal(signals.SIGTTOU, old)

    def _handle(self, number: int, handler: Callable[..., None]) -> None:
        self._old[number] = _signal.signal(number, handler)

    def _resize(self, *_: object) -> None:
        if self._size < 0:
            return
        try:
            self._tell_size(fcntl.ioctl(self._size, _TIOCGWINSZ, bytes(8)))
        except OSError:
            pass

    def _die(self, number: int, _: object) -> None:
        self.restore()
        _signal.signal(number, _signal.SIG_DFL)
        os.kill(os.getpid(), number)

    def _stop(self, *_: object) -> None:
        """Stop as the shell asked; the next line runs when it lets this process go on."""
        self.restore()
        os.kill(os.getpid(), signals.SIGSTOP)
        self._raw()
        self._resize()


def proxy_signals(pidfd: int, terminal: bool) -> None:
    """Send every signal that this process gets on to the process ``pidfd``.

    With a ``terminal`` SIGTSTP stays ours: in raw mode it does not come from a key but from somebody who means us.
    """

    def forward(number: int, _: object) -> None:
        pidfd_send_signal(pidfd, number)

    for number in PROXIED:
        if not (terminal and number == signals.SIGTSTP):
            _signal.signal(number, forward)


def resizer(master: int) -> Callable[[bytes], object]:
    """What gives the terminal ``master`` another size."""
    return lambda size: fcntl.ioctl(master, _TIOCSWINSZ, size)


def follow(process: Process, *, interactive: bool = False, sig_proxy: bool = True) -> int:
    """Start the process, show it to the caller and wait for its end: its exit code.

    With a terminal (``process.console_fd``) that is relayed; without one the process has the caller's own streams.
    """
    if process.console_fd < 0:
        if sig_proxy:
            proxy_signals(process.pidfd, False)
        process.start()
        return process.wait()
    from rootless.monitor.relay import Keys, Output, relay

    output = Output(process.console_fd, _STDOUT)
    keys = Keys(_STDIN, process.console_fd) if interactive else None
    with Terminal(resizer(process.console_fd), interactive):
        if sig_proxy:
            proxy_signals(process.pidfd, True)
        process.start()
        relay(process.pidfd, [output], keys)
    return process.wait()
