"""``logs``: what containers have written, and what they write from now on."""

from __future__ import annotations

import os
import select
import time

from rootless.engine.containers.logfile import LogFile
from rootless.engine.containers.loglines import Lines, lines_of
from rootless.engine.containers.status import status
from rootless.errors import RootlessError
from storage.locks import is_held

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from rootless.engine.containers.loglines import Shown, Wanted
    from rootless.engine.context import Engine

_LOOK = 1.0
"""Seconds after which a followed log is looked at though nothing was told: there may be no watch to be had."""


class Source:
    """The log of one container. ``running``: a descriptor that is readable when its monitor has ended, -1 for none."""

    __slots__ = ("directory", "ended", "lines", "log", "running")

    def __init__(self, directory: str, log: LogFile, lines: Lines) -> None:
        self.directory = directory
        self.log = log
        self.lines = lines
        self.running = -1
        self.ended = True

    def show(self) -> Iterator[Shown]:
        """What is new."""
        while True:
            for piece in self.log.read():
                yield from self.lines.show(piece)
            if not self.log.renew():
                return

    def close(self) -> None:
        """Let go of all descriptors."""
        self.log.close()
        if self.running >= 0:
            os.close(self.running)
            self.running = -1


def logs(engine: Engine, ids: Sequence[str], wanted: Wanted) -> Iterator[Shown]:
    """What is to be written for the containers' logs, in order, as (descriptor, bytes).

    Lines of several containers come in the order of their times, as far as they are there already. With ``follow`` what
    is written from now on follows, until the last of the containers has ended. Raises RootlessError for a container
    without a log that could be read.
    """
    records = [engine.store.containers.load(container_id) for container_id in ids]
    for record in records:
        _check(record)
    if any(record["options"]["log_driver"] == "journald" for record in records):
        from rootless.engine.containers.logs_journal import logs as of_journal

        if len(records) != 1:
            raise RootlessError("cannot show the journal together with other logs", "name one container at a time")
        return of_journal(engine, records[0], wanted)
    return _of_files(engine, records, wanted)


def _check(record: Mapping[str, Any]) -> None:
    driver = record["options"]["log_driver"]
    if driver in ("none", "passthrough", "passthrough-tty"):
        message = f"this container is using the '{driver}' log driver, cannot read logs"
        raise RootlessError(f"{message}: this container is not logging output")


def _of_files(engine: Engine, records: Sequence[Mapping[str, Any]], wanted: Wanted) -> Iterator[Shown]:
    sources = []
    try:
        for number, record in enumerate(records):
            sources.append(_source(engine, record, number, wanted, len(records) > 1))
        if len(sources) == 1:
            yield from sources[0].show()
        else:
            yield from _by_time(sources)
        if wanted.follow:
            yield from _follow(sources, wanted.until)
        for source in sources:
            yield from source.lines.rest()
    finally:
        for source in sources:
            source.close()


def _source(engine: Engine, record: Mapping[str, Any], number: int, wanted: Wanted, several: bool) -> Source:
    container_id = record["id"]
    layout = engine.store.layout
    log = LogFile(record["options"]["log_path"] or layout.container_log(container_id))
    source = Source(layout.container(container_id), log, lines_of(record, number, wanted, several))
    current = status(engine, container_id)
    if wanted.follow and is_held(source.directory):
        source.ended = False
        if current.monitor:
            try:
                source.running = os.pidfd_open(current.monitor)
            except ProcessLookupError:
                source.ended = True
    try:
        there = log.open()
        if not there and current.state == "running" and not current.monitor:
            hint = "give it --log-driver=k8s-file when it is run"
            raise RootlessError(f"cannot read the logs of {record['name']}: its output went to its caller alone", hint)
        if wanted.tail >= 0:
            log.seek_last(wanted.tail)
    except BaseException:
        source.close()
        raise
    return source


def _by_time(sources: Sequence[Source]) -> Iterator[Shown]:
    """The lines that are there, of all containers in the order of their times."""
    from heapq import merge

    from rootless.engine.containers.loglines import Moments

    moments = Moments()

    def timed(source: Source) -> Iterator[tuple[int, int, bytes]]:
        while True:
            for piece in source.log.read():
                for moment, fd, text in source.lines.each(piece):
                    yield moments.of(moment), fd, text
            if not source.log.renew():
                return

    for _, fd, text in merge(*map(timed, sources), key=lambda line: line[0]):
        yield fd, text


def _follow(sources: Sequence[Source], until: int) -> Iterator[Shown]:
    """What comes. One whose monitor has ended is read to its end and left: nothing is written to it any more."""
    from rootless.linux import inotify

    watcher = inotify.watcher()
    watched: dict[Source, int] = {}
    poll = select.poll()
    if watcher >= 0:
        poll.register(watcher, select.POLLIN)
    for source in sources:
        if source.running >= 0:
            poll.register(source.running, select.POLLIN)
    left = list(sources)
    try:
        while True:
            for source in left:
                if watcher >= 0 and source.log.fd >= 0 and watched.get(source) != source.log.fd:
                    watched[source] = source.log.fd
                    _watch(watcher, source.log.fd)
            for source in left[:]:
                ended = source.ended
                yield from source.show()
                if ended:
                    left.remove(source)
            patience = _LOOK if not until else min(_LOOK, (until - time.time_ns()) / 1e9)
            if not left or patience < 0:
                return
            if any(source.ended or watched.get(source, source.log.fd) != source.log.fd for source in left):
                continue
            ready = {fd for fd, _ in poll.poll(patience * 1000)}
            if watcher in ready:
                inotify.drain(watcher)
            for source in left:
                if source.running in ready:
                    poll.unregister(source.running)
                    source.ended = True
                elif not ready:
                    source.ended = not is_held(source.directory)
    finally:
        if watcher >= 0:
            os.close(watcher)


def _watch(watcher: int, fd: int) -> None:
    from rootless.linux import inotify

    try:
        inotify.watch(watcher, fd)
    except OSError:
        return  # the user has no watch left: the look that comes each second will do
