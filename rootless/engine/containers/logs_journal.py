"""Logs in systemd's journal: journalctl(1) reads them, entry by entry, and they become lines of a log file."""

from __future__ import annotations

import os
import select
import subprocess
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from rootless.engine.containers.loglines import Wanted, lines_of
from rootless.engine.containers.status import status
from rootless.errors import RootlessError
from storage import jsonfast
from storage.errors import StorageError

if TYPE_CHECKING:
    from rootless.engine.containers.loglines import Shown
    from rootless.engine.context import Engine

_PIECE = 1 << 20
_ERROR = "3"  # the priority that a line of stderr has (syslog(3))


def logs(engine: Engine, record: Mapping[str, Any], wanted: Wanted) -> Iterator[Shown]:
    """As ``rootless.engine.containers.logs.logs``, for one container with the log driver journald."""
    return _read(engine, record, wanted)


def _read(engine: Engine, record: Mapping[str, Any], wanted: Wanted) -> Iterator[Shown]:
    lines = lines_of(record, 0, wanted, False)
    matches = [f"CONTAINER_ID_FULL={record['id']}"]
    if wanted.since:
        matches.append(f"--since=@{wanted.since // 1_000_000_000}")
    begin = [] if wanted.tail < 0 else [f"--lines={wanted.tail}"]
    current = status(engine, record["id"])
    running = -1
    if wanted.follow and current.monitor:
        try:
            running = os.pidfd_open(current.monitor)
        except ProcessLookupError:
            running = -1
    try:
        if running >= 0:
            # Without --lines journalctl --follow begins with the last ten.
            follow = ["--follow", *(begin or ["--no-tail"])]
            for cursor, piece in _entries([*matches, *follow], running, wanted.until):
                # What the journal takes in between the end of the container and that of journalctl is read below.
                begin = [f"--after-cursor={cursor}"]
                yield from lines.show(piece)
        for _, piece in _entries([*matches, *begin], -1, 0):
            yield from lines.show(piece)
    finally:
        if running >= 0:
            os.close(running)


def _entries(arguments: list[str], running: int, until: int) -> Iterator[tuple[str, bytes]]:
    """(cursor, line of a log) of each entry, until journalctl has no more, or what ``running`` stands for has ended."""
    command = ["journalctl", "--user", "--quiet", "--no-pager", "--all", "--output=json", *arguments]
    try:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    except OSError as error:
        hint = "the journal is systemd's; use --log-driver=k8s-file on a machine without it"
        raise RootlessError(f"cannot run journalctl: {error.strerror}", hint) from None
    assert process.stdout is not None and process.stderr is not None
    source = process.stdout.fileno()
    rest = b""
    try:
        while _wait(source, running, until):
            data = os.read(source, _PIECE)
            if not data:
                break
            *complete, rest = (rest + data).split(b"\n")
            yield from (found for entry in complete if (found := _lines(entry)))
        else:
            return
        if process.wait():
            said = process.stderr.read(4096).decode("utf-8", "replace").strip()
            raise RootlessError(f"cannot read the journal: {said or 'journalctl failed'}")
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


def _wait(source: int, running: int, until: int) -> bool:
    """Wait for output; False when there is none and the container has ended, or the time is over."""
    if running < 0:
        return True
    patience = max(0.0, (until - time.time_ns()) / 1e9) if until else None
    ready, _, _ = select.select([source, running], [], [], patience)
    return source in ready


def _lines(entry: bytes) -> tuple[str, bytes] | None:
    """An entry as lines of a log file; None for one that is none of a container's output."""
    try:
        fields = jsonfast.loads(entry)
        microseconds = int(fields["__REALTIME_TIMESTAMP"])
        message = fields["MESSAGE"]
        cursor = str(fields["__CURSOR"])
        # journalctl writes what is no text as a list of bytes.
        text = bytes(message) if isinstance(message, list) else str(message or "").encode("utf-8", "surrogateescape")
    except (StorageError, LookupError, TypeError, ValueError):
        return None
    stream = b"stderr" if fields.get("PRIORITY") == _ERROR else b"stdout"
    part = b"P" if fields.get("CONTAINER_PARTIAL_MESSAGE") == "true" else b"F"
    seconds, rest = divmod(microseconds, 1_000_000)
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)).encode() + b".%06d000+00:00" % rest
    return cursor, b"".join(b"%s %s %s %s\n" % (stamp, stream, part, line) for line in text.split(b"\n"))
