"""Child processes that do one piece of work and report with messages over a pipe.

A pull is one small single-threaded process that forks: a downloader, which has threads and the HTTP library, and a
worker for each layer that is unpacked. None of their memory stays with the caller, and none of them outlives it.
"""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from rootless.errors import RootlessError, place
from rootless.linux.libc import PR_SET_PDEATHSIG, prctl
from rootless.linux.signals import SIGKILL, SIGTERM
from rootless.registry.errors import TransientError
from storage import jsonfast
from storage.errors import StorageError

_LONGEST_DEATH = 10_000  # milliseconds

Message = dict[str, Any]
Send = Callable[[Message], None]


class Worker:
    """A running child; ``receive`` its messages whenever ``fileno`` is readable."""

    def __init__(self, work: Callable[[Send], None]) -> None:
        """Fork, and call ``work(send)`` in the child. ``send`` may be called from several threads there."""
        reader, writer = os.pipe()
        parent = os.getpid()
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(reader)
            _child(work, writer, parent)
        os.close(writer)
        self._fd = reader
        self._rest = b""
        self._ended = False

    def fileno(self) -> int:
        """The pipe, for ``select.poll``."""
        return self._fd

    def receive(self) -> list[Message] | None:
        """The messages that are there, waiting for at least one; None when the child is done.

        Raises RootlessError with the child's error (TransientError for one), or if it died.
        """
        data = os.read(self._fd, 65536)
        if not data:
            self._reap()
            return None
        *lines, self._rest = (self._rest + data).split(b"\n")
        messages = [jsonfast.loads(line) for line in lines]
        for message in messages:
            if message["kind"] == "error":
                if message["transient"]:
                    raise TransientError(message["message"], message["hint"])
                failure = RootlessError(message["message"], message["hint"], message["exit_code"])
                failure.excerpt = tuple(message["excerpt"])
                raise failure
            self._ended = self._ended or message["kind"] == "end"
        return [message for message in messages if message["kind"] != "end"]

    def _reap(self) -> None:
        pid, self.pid = self.pid, 0
        os.close(self._fd)
        status = os.waitpid(pid, 0)[1]
        if not self._ended:
            code = os.waitstatus_to_exitcode(status)
            how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
            raise RootlessError(f"cannot finish: a worker process {how}", "is the machine out of memory?")

    def kill(self) -> None:
        """End the child with all its own children, if it still runs, and forget it."""
        if self.pid:
            os.kill(self.pid, SIGTERM)
            pid, self.pid = self.pid, 0
            # Its children die with it, and hold the other end of the pipe until they are gone.
            poll = select.poll()
            poll.register(self._fd, select.POLLIN)
            while poll.poll(_LONGEST_DEATH) and os.read(self._fd, 65536):
                pass
            os.close(self._fd)
            os.waitpid(pid, 0)


def follow(work: Callable[[Send], None], take: Callable[[Message], object] = lambda message: None) -> None:
    """Do ``work`` in a child to its end, and give each of its messages to ``take``. Raises as ``receive``.

    Whatever ends this ends the child.
    """
    worker = Worker(work)
    try:
        while (messages := worker.receive()) is not None:
            for message in messages:
                take(message)
    finally:
        worker.kill()


def _child(work: Callable[[Send], None], writer: int, parent: int) -> NoReturn:
    """Run ``work`` and leave without the parent's clean-up; every failure becomes a message."""
    code = 1
    try:
        prctl(PR_SET_PDEATHSIG, SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

        def send(message: Mapping[str, Any]) -> None:
            # At most PIPE_BUF bytes are written at once, so that the lines of several threads do not mix.
            os.write(writer, jsonfast.dump_bytes(dict(message)))

        try:
            work(send)
            send({"kind": "end"})
            code = 0
        except (RootlessError, StorageError) as error:
            transient = isinstance(error, TransientError)
            excerpt = error.excerpt if isinstance(error, RootlessError) else ()
            send(_failure(error.message, error.hint, error.exit_code, transient=transient, excerpt=excerpt))
        except OSError as error:
            send(_failure(f"cannot finish: {error.strerror or error}"))
        except MemoryError:
            send(_failure("cannot finish: out of memory"))
        except KeyboardInterrupt:
            code = 130
        except Exception as error:
            what = f"cannot finish: {type(error).__name__}: {error} ({place(error)})"
            send(_failure(what, "this is a defect of rootless: report it"))
    except BrokenPipeError:
        pass  # nobody listens any more
    finally:
        os._exit(code)


def _failure(
    message: str, hint: str = "", exit_code: int = 125, *, transient: bool = False, excerpt: tuple[str, ...] = ()
) -> Message:
    return {
        "kind": "error",
        "message": message[:2000],
        "hint": hint[:1000],
        "exit_code": exit_code,
        "transient": transient,
        "excerpt": [line[:200] for line in excerpt[:3]],
    }


def ready(workers: list[Worker], milliseconds: int | None = None) -> list[Worker]:
    """Wait until at least one of ``workers`` has something to say, but not longer, and return those that have."""
    poll = select.poll()
    by_fd = {worker.fileno(): worker for worker in workers}
    for fd in by_fd:
        poll.register(fd, select.POLLIN)
    return [by_fd[fd] for fd, _ in poll.poll(milliseconds)]
