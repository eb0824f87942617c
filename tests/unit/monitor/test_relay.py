"""The relay between a container's streams and the caller."""

from __future__ import annotations

import os
import pty
import select
import threading
import time
from collections.abc import Callable

from rootless.monitor.relay import Keys, Output, relay


def child(body: Callable[[], None]) -> tuple[int, int]:
    """(pid, pidfd) of a forked process that runs ``body``."""
    pid = os.fork()
    if pid == 0:
        try:
            body()
        finally:
            os._exit(0)
    return pid, os.pidfd_open(pid)


def test_output_goes_to_the_caller_or_nowhere() -> None:
    (out, out_end), (err, err_end), (shown, shown_end) = os.pipe(), os.pipe(), os.pipe()

    def body() -> None:
        os.write(out_end, b"one\ntwo")
        os.write(err_end, b"problem\n")

    pid, pidfd = child(body)
    os.close(out_end)
    os.close(err_end)
    relay(pidfd, [Output(out, shown_end), Output(err, -1)])
    os.close(shown_end)
    assert os.read(shown, 100) == b"one\ntwo"
    os.waitpid(pid, 0)


def test_a_process_that_got_away_is_not_waited_for() -> None:
    out, out_end = os.pipe()
    pid, pidfd = child(lambda: None)
    began = time.monotonic()
    relay(pidfd, [Output(out, -1)])  # the write end is still open here
    assert time.monotonic() - began < 5
    os.close(out_end)
    os.waitpid(pid, 0)


def test_a_slow_reader_holds_the_container_back_and_costs_no_memory() -> None:
    import resource

    (out, out_end), (shown, shown_end) = os.pipe(), os.pipe()
    size = 64 << 20

    def body() -> None:
        piece = bytes(1 << 20)
        for _ in range(size >> 20):
            view = memoryview(piece)
            while view:
                view = view[os.write(out_end, view) :]

    pid, pidfd = child(body)
    os.close(out_end)
    got = 0

    def read() -> None:
        nonlocal got
        time.sleep(0.3)
        while data := os.read(shown, 1 << 16):
            got += len(data)

    reader = threading.Thread(target=read)
    reader.start()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    relay(pidfd, [Output(out, shown_end)])
    os.close(shown_end)
    reader.join()
    os.waitpid(pid, 0)
    assert got == size
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 8 << 10


def test_a_reader_that_goes_away_ends_the_stream() -> None:
    (out, out_end), (shown, shown_end) = os.pipe(), os.pipe()

    def body() -> None:
        os.close(out)
        os.close(shown)
        try:
            while True:
                os.write(out_end, b"y\n" * 1000)
        except BrokenPipeError:
            os._exit(7)

    pid, pidfd = child(body)
    os.close(out_end)
    os.close(shown)
    relay(pidfd, [Output(out, shown_end)])
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7


def test_keys_and_their_end_reach_the_terminal() -> None:
    master, slave = pty.openpty()
    keys, keys_end = os.pipe()
    shown, shown_end = os.pipe()

    def body() -> None:
        os.close(master)
        os.set_blocking(slave, True)
        text = b""
        while piece := os.read(slave, 100):
            text += piece
        os.write(slave, b"got " + text.upper())

    os.write(keys_end, b"hello\n")
    os.close(keys_end)
    pid, pidfd = child(body)
    os.close(slave)
    relay(pidfd, [Output(master, shown_end)], Keys(keys, master))
    os.waitpid(pid, 0)
    assert b"got HELLO" in os.read(shown, 1000)


def test_a_terminal_that_nobody_reads_does_not_block_the_output() -> None:
    """More keys than the terminal holds, for a program that does not read but writes."""
    master, slave = pty.openpty()
    keys, keys_end = os.pipe()

    def body() -> None:
        os.close(master)
        for _ in range(200):
            os.write(slave, b"x" * 1000)

    os.set_blocking(keys_end, False)
    os.write(keys_end, b"k\n" * 30_000)
    pid, pidfd = child(body)
    os.close(slave)
    null = os.open("/dev/null", os.O_WRONLY)
    relay(pidfd, [Output(master, null)], Keys(keys, master))
    assert select.select([pidfd], [], [], 0)[0]
    os.waitpid(pid, 0)
