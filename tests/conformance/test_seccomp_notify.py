"""config-linux.md, "The Container Process State": the descriptor of the filter goes to an agent on ``listenerPath``."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.support import PATIENCE, Box, seccomp, until

NOTIFY = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY"}
NOTIF_RECV = 0xC0502100
NOTIF_SEND = 0xC0182101

pytestmark = pytest.mark.since("seccomp notify")


class Agent:
    """A seccomp agent that answers one system call with an error."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.settimeout(PATIENCE)
        self.listener.bind(str(path))
        self.listener.listen()
        self.fds: list[int] = []

    def receive(self) -> dict[str, Any]:
        """The container process state."""
        connection, _ = self.listener.accept()
        text = b""
        with connection:
            connection.settimeout(PATIENCE)
            while True:
                part, fds, _, _ = socket.recv_fds(connection, 65536, 8)
                self.fds += fds
                text += part
                assert part, f"the connection ends after {text!r}"
                try:
                    found = json.loads(text)
                except ValueError:
                    continue  # the rest is still to come: the runtime may keep the connection open
                assert isinstance(found, dict)
                return found

    def answer(self, number: int) -> int:
        """Wait for a system call and make it fail with ``number``; the caller's pid."""
        request = ctypes.create_string_buffer(80)
        fcntl.ioctl(self.fds[0], NOTIF_RECV, request)
        identity, pid = struct.unpack_from("=QI", request)
        fcntl.ioctl(self.fds[0], NOTIF_SEND, bytearray(struct.pack("=QqiI", identity, 0, -number, 0)))
        return int(pid)

    def close(self) -> None:
        """Release the descriptors."""
        self.listener.close()
        for fd in self.fds:
            os.close(fd)


@pytest.fixture
def agent(home: Path) -> Iterator[Agent]:
    made = Agent(home / "agent")
    yield made
    made.close()


def configure(box: Box, agent: Agent, **more: Any) -> None:
    box.linux["seccomp"] = seccomp(NOTIFY, listenerPath=str(agent.path), listenerMetadata="meta data", **more)
    box.process["args"] = ["sh", "-c", "mkdir /tmp/new 2>&1; sleep 1000"]
    box.write()


def test_state_and_descriptor(box: Box, agent: Agent) -> None:
    configure(box, agent)
    box.config["annotations"] = {"a": "b"}
    box.write()
    started = box.begin("run", "--bundle", str(box.bundle), box.id)
    state = agent.receive()
    assert len(agent.fds) == len(state["fds"]) == 1 and state["fds"] == ["seccompFd"]
    assert state["ociVersion"].startswith("1.") and state["metadata"] == "meta data"
    assert state["state"]["id"] == box.id and state["state"]["bundle"] == str(box.bundle)
    assert state["state"]["status"] == "creating" and state["state"]["annotations"] == {"a": "b"}
    pid = box.pid
    assert state["pid"] == pid
    assert agent.answer(errno.EXDEV) > 0
    until(lambda: os.strerror(errno.EXDEV).lower() in started.texts()[0].lower())
    box.kill()
    assert started.end().code == 137


def test_exec(box: Box, agent: Agent) -> None:
    configure(box, agent)
    started = box.begin("run", "--bundle", str(box.bundle), box.id)
    agent.receive()
    agent.answer(errno.EPERM)
    box.until_status("running")
    executed = box.begin("exec", box.id, "sh", "-c", "mkdir /tmp/new 2>&1; true")
    state = agent.receive()
    assert state["state"]["status"] == "running" and state["pid"] != box.pid
    os.close(agent.fds.pop(0))
    agent.answer(errno.EXDEV)
    assert os.strerror(errno.EXDEV).lower() in executed.end().out.lower()
    box.kill()
    started.end()


@pytest.mark.since("seccomp wait killable")
def test_wait_killable(box: Box, agent: Agent) -> None:
    configure(box, agent, flags=["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"])
    started = box.begin("run", "--bundle", str(box.bundle), box.id)
    agent.receive()
    agent.answer(errno.EXDEV)
    until(lambda: os.strerror(errno.EXDEV).lower() in started.texts()[0].lower())
    box.kill()
    started.end()


def test_notify_without_a_listener(box: Box) -> None:
    box.linux["seccomp"] = seccomp(NOTIFY)
    box.refused()


def test_nobody_listens(box: Box) -> None:
    box.linux["seccomp"] = seccomp(NOTIFY, listenerPath=str(box.home / "nobody"))
    box.refused()
