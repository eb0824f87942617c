"""conmon, which podman and CRI-O put between themselves and the runtime, driven without either."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import bundles, callers
from tests.support.fixtures import require
from tests.support.places import OWN, ROOT, Place, place
from tests.support.waiting import until

STDOUT, STDERR = 2, 3
"""The first byte of a packet on the attach socket (conmon's conn_sock.c)."""


class Conmon:
    """The bundle of one container, and the files in which conmon keeps what it knows."""

    def __init__(self, where: Place) -> None:
        self.place = where
        self.runtime = callers.installed(where)
        self.bundle = where.directory("bundle")
        self.log = where.home / "log"
        bundles.make_root(self.bundle / "rootfs")

    def write(self, *command: str, terminal: bool = False, single: bool = False) -> None:
        """The container's config.json; ``single``: the caller's own id is the only one in it."""
        given = bundles.spec(*command)
        given["process"]["terminal"] = terminal
        if single:
            for name, own in (("uidMappings", os.getuid()), ("gidMappings", os.getgid())):
                given["linux"][name] = [{"containerID": 0, "hostID": own, "size": 1}]
        if self.place.kind == ROOT:
            given["linux"]["namespaces"] = [one for one in given["linux"]["namespaces"] if one["type"] != "user"]
        (self.bundle / "config.json").write_text(json.dumps(given))

    def start(self, *words: str | Path, name: str = "box") -> dict[str, Any]:
        """Let conmon call the runtime; the line that it writes to its caller."""
        started, go = os.pipe()
        reading, told = os.pipe()
        files: list[str | Path] = ["--container-pidfile", self.place.home / f"{name}.pid"]
        files += ["--log-path", f"k8s-file:{self.log}", "--exit-dir", self.place.directory(f"exits-{name}")]
        command: list[str | Path] = ["conmon", "--api-version", "1", "--cid", "box", "--cuuid", name, "--name", name]
        command += ["--runtime", self.runtime, "--bundle", self.bundle, "--full-attach", *files, *words]
        environment = {
            "XDG_RUNTIME_DIR": self.place.environment["XDG_RUNTIME_DIR"], "PATH": "/usr/bin:/bin:/usr/sbin:/sbin",
            "_OCI_SYNCPIPE": str(told), "_OCI_STARTPIPE": str(started),
        }  # fmt: skip
        with subprocess.Popen(
            self.place.command(*command), env=environment, pass_fds=(told, started), stdin=subprocess.DEVNULL
        ):
            os.close(told)
            os.close(started)
            os.write(go, b"1")
            os.close(go)
        with os.fdopen(reading) as answer:
            found: dict[str, Any] = json.loads(answer.readline())
        return found

    def attach(self) -> socket.socket:
        """A connection to the container's streams."""
        found = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        found.settimeout(callers.PATIENCE)
        found.connect(str(self.bundle / "attach"))
        return found

    def call(self, *words: str) -> str:
        """Call the runtime, as podman does beside conmon."""
        return self.place.ok(self.runtime, *words)

    def lines(self) -> list[str]:
        """The log: stream, whether the line is whole, and the text."""
        return [line.split(" ", 1)[1] for line in self.log.read_text().splitlines()]

    def code(self, name: str = "box") -> int:
        """The exit code of the container or of a further process, as soon as it is known."""
        file = self.place.home / f"exits-{name}" / "box"
        until(file.exists)
        return int(file.read_text())


@pytest.fixture(params=[OWN, pytest.param(ROOT, marks=pytest.mark.as_root)])
def conmon(request: pytest.FixtureRequest) -> Iterator[Conmon]:
    require("conmon", "busybox", *(["userns"] if request.param == OWN else []))
    with place(request.param) as where:
        made = Conmon(where)
        yield made
        where.run(made.runtime, "delete", "--force", "box")


def receive(connection: socket.socket, stream: int) -> str:
    """The next packet, which must be of this stream."""
    data = connection.recv(8192)
    assert data[:1] == bytes([stream]), data
    return data[1:].decode()


def test_streams_and_exit_code(conmon: Conmon) -> None:
    conmon.write("sh", "-c", "echo out; read line; echo $line >&2; exit 9")
    pid = conmon.start("--stdin")["data"]
    state = json.loads(conmon.call("state", "box"))
    assert state["status"] == "created" and pid > 0
    assert state["pid"] == int((conmon.place.home / "box.pid").read_text())
    with conmon.attach() as streams:
        conmon.call("start", "box")
        assert receive(streams, STDOUT) == "out\n"
        streams.send(b"given\n")
        assert receive(streams, STDERR) == "given\n"
    assert conmon.code() == 9
    assert conmon.lines() == ["stdout F out", "stderr F given"]
    conmon.call("delete", "box")
    assert conmon.call("list", "--quiet") == ""


def test_terminal(conmon: Conmon) -> None:
    """conmon gets the terminal by its console socket, and sets its size when its caller asks."""
    conmon.write("sh", "-c", "read line; stty size; echo got $line; exit 3", terminal=True)
    assert conmon.start("--terminal", "--stdin")["data"] > 0
    (conmon.bundle / "winsz").write_text("21 65\n")
    with conmon.attach() as streams:
        conmon.call("start", "box")
        streams.send(b"typed\n")
        shown = ""
        while "got typed" not in shown:
            shown += receive(streams, STDOUT)
    assert "21 65\r\n" in shown
    assert conmon.code() == 3


def test_exec(conmon: Conmon) -> None:
    conmon.write("sleep", "1000")
    conmon.start()
    conmon.call("start", "box")
    process = {**bundles.spec("sh", "-c", "echo in; exit 5")["process"], "env": ["PATH=/bin"]}
    file = conmon.place.write("process.json", json.dumps(process))
    assert conmon.start("--exec", "--exec-process-spec", file, name="other")["data"] > 0
    until(lambda: "stdout F in" in conmon.lines())
    assert conmon.code("other") == 5
    assert json.loads(conmon.call("state", "box"))["status"] == "running"
    conmon.call("kill", "box", "9")
    assert conmon.code() == 137


def test_what_cannot_be_created(conmon: Conmon) -> None:
    """conmon hands the runtime's words to its caller, and a negative pid."""
    conmon.write("/nope")
    told = conmon.start()
    assert told["data"] < 0 and "executable file `/nope` not found" in told["message"], told
    assert conmon.call("list", "--quiet") == ""


def test_killed_before_its_start(conmon: Conmon) -> None:
    conmon.write("sleep", "1000")
    conmon.start()
    conmon.call("kill", "box", "KILL")
    assert conmon.code() == 137
    until(lambda: json.loads(conmon.call("state", "box"))["status"] == "stopped")


@pytest.mark.parametrize("conmon", [OWN], indirect=True)
def test_id_map_is_written_every_time(conmon: Conmon) -> None:
    """The process by way of which the map is written must not have ended by then; two of five starts failed so."""
    conmon.write("true", single=True)
    for _ in range(8):
        assert conmon.start().get("data", -1) > 0
        conmon.call("delete", "--force", "box")
        assert conmon.code() == 137
        (conmon.place.home / "exits-box" / "box").unlink()
