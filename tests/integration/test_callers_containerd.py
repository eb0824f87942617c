"""containerd's shim calls the runtime: as root in a control group tree, and as root of an ordinary user's namespace."""

from __future__ import annotations

import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.support import callers, images
from tests.support.fixtures import require
from tests.support.places import ROOT, USERNS, Place, place
from tests.support.waiting import until

IMAGE = "localhost/box:latest"
SETTINGS = """
version = 2
root = "{home}/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
address = "/run/containerd/containerd.sock"
"""
OBEYS = "trap 'exit 3' TERM; echo ready; while :; do sleep 0.1; done"


class Containerd:
    """A containerd of its own, whose containers are made by our runtime."""

    def __init__(self, where: Place) -> None:
        self.place = where
        self.runtime = callers.installed(where)

    def words(self, *arguments: str) -> list[str]:
        return ["ctr", *arguments]

    def ctr(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return self.place.run(*self.words(*arguments), stdin=stdin)

    def ok(self, *arguments: str) -> str:
        return self.place.ok(*self.words(*arguments))

    def made(self, *flags: str) -> list[str]:
        """The words of ``ctr run``."""
        return ["run", "--runc-binary", str(self.runtime), "--snapshotter", "native", *flags, IMAGE]

    def status(self, name: str) -> str:
        """The state of a task, nothing where there is none."""
        rows = [line.split() for line in self.ok("task", "ls").splitlines()[1:]]
        return next((row[2] for row in rows if row[0] == name), "")

    def load(self) -> None:
        """Have an image of busybox."""
        layout = images.busybox_layout(self.place.home / "image")
        archive = self.place.home / "image.tar"
        with tarfile.open(archive, "w") as file:
            file.add(layout, ".")
        self.ok("image", "import", "--snapshotter", "native", "--base-name", IMAGE.partition(":")[0], str(archive))


@contextmanager
def running(kind: str) -> Iterator[Containerd]:
    """A containerd in a place; the kernel ends it, its shims and their containers with the place."""
    with place(kind) as where:
        found = Containerd(where)
        settings = where.write("config.toml", SETTINGS.format(home=where.home))
        with (where.home / "log").open("w") as log:
            daemon = subprocess.Popen(
                where.command("containerd", "--config", settings), env=where.environment, stdout=log, stderr=log
            )
        try:
            until(lambda: found.ctr("version").returncode == 0)
            found.load()
            yield found
        finally:
            daemon.terminate()
            daemon.wait(callers.PATIENCE)


@pytest.fixture(scope="module", params=[USERNS, pytest.param(ROOT, marks=pytest.mark.as_root)])
def containerd(request: pytest.FixtureRequest) -> Iterator[Containerd]:
    require("containerd", "busybox", *(["subuid", "newuidmap"] if request.param == USERNS else []))
    with running(request.param) as found:
        yield found


@pytest.fixture
def box(containerd: Containerd) -> Iterator[str]:
    """The name of a container, which is removed whatever became of it."""
    yield "one"
    containerd.ctr("task", "rm", "--force", "one")
    containerd.ctr("container", "rm", "one")


def test_run(containerd: Containerd) -> None:
    program = ["sh", "-c", "read line; echo $line; echo error >&2; id -u; exit 7"]
    done = containerd.ctr(*containerd.made("--rm"), "one", *program, stdin="given\n")
    assert (done.returncode, done.stdout) == (7, "given\n0\n") and done.stderr.startswith("error\n"), done.stderr
    assert containerd.ok("container", "ls", "--quiet") == ""
    assert containerd.place.ok(containerd.runtime, "--root", "/run/containerd/runc/default", "list", "-q") == ""


def test_terminal(containerd: Containerd) -> None:
    terminal = callers.Terminal(
        containerd.place, *containerd.words(*containerd.made("--rm", "--tty"), "one", "sh", "-c", "read x; tty; exit 6")
    )
    terminal.type("\n")
    terminal.until("/dev/pts/0")
    assert terminal.end() == 6


def test_life(containerd: Containerd, box: str) -> None:
    containerd.ok(*containerd.made("--detach"), box, "sh", "-c", OBEYS)
    assert containerd.status(box) == "RUNNING"
    script = "echo in; tr '\\0' ' ' </proc/1/cmdline; exit 3"
    done = containerd.ctr("task", "exec", "--exec-id", "first", box, "sh", "-c", script)
    assert done.returncode == 3 and done.stdout.startswith("in\nsh -c trap"), done.stderr
    heading, *rows = containerd.ok("task", "ps", box).splitlines()
    assert heading.split() == ["PID", "INFO"] and rows
    assert containerd.ok("task", "metrics", box).splitlines()[1].startswith(box)
    containerd.ok("task", "kill", box)
    until(lambda: containerd.status(box) == "STOPPED")
    assert containerd.ctr("task", "rm", box).returncode == 0
    assert containerd.status(box) == ""
    containerd.ok("container", "rm", box)


def test_killed(containerd: Containerd, box: str) -> None:
    containerd.ok(*containerd.made("--detach"), box, "sleep", "1000")
    assert "must be stopped" in containerd.ctr("task", "rm", box).stderr
    containerd.ok("task", "kill", "--all", "--signal", "KILL", box)
    until(lambda: containerd.status(box) == "STOPPED")
    assert "exit code 137" in containerd.ctr("task", "rm", box).stderr


def test_exec_on_a_terminal(containerd: Containerd, box: str) -> None:
    containerd.ok(*containerd.made("--detach"), box, "sleep", "1000")
    words = containerd.words("task", "exec", "--tty", "--exec-id", "shell", box)
    terminal = callers.Terminal(containerd.place, *words, "sh", "-c", "read x; echo $x $x; exit 5")
    terminal.type("twice\n")
    terminal.until("twice twice")
    assert terminal.end() == 5


def test_what_cannot_be_executed(containerd: Containerd, box: str) -> None:
    """The shim reads the reason from the runtime's log."""
    done = containerd.ctr(*containerd.made("--rm"), "two", "/nope")
    assert done.returncode == 1 and "OCI runtime create failed: executable file `/nope` not found" in done.stderr
    containerd.ok(*containerd.made("--detach"), box, "sleep", "1000")
    done = containerd.ctr("task", "exec", "--exec-id", "first", box, "/nope")
    assert done.returncode == 1 and "OCI runtime exec failed: executable file `/nope` not found" in done.stderr
    assert containerd.ok("container", "ls", "--quiet").split() == [box]


def test_settings(containerd: Containerd) -> None:
    flags = ["--read-only", "--env", "GIVEN=1", "--cwd", "/tmp", "--seccomp", "--cap-drop", "CAP_CHOWN"]
    flags += ["--mount", f"type=bind,src={containerd.place.home},dst=/srv,options=rbind:ro"]
    script = "echo $GIVEN; pwd; touch /x 2>&1; ls /srv/config.toml; grep -E 'CapEff|Seccomp:' /proc/self/status"
    assert containerd.ok(*containerd.made("--rm", *flags), "one", "sh", "-c", script).splitlines() == [
        "1", "/tmp", "touch: /x: Read-only file system", "/srv/config.toml", "CapEff:\t00000000a80425fa", "Seccomp:\t2",
    ]  # fmt: skip


@pytest.mark.parametrize("containerd", [pytest.param(ROOT, marks=pytest.mark.as_root)], indirect=True)
def test_pause(containerd: Containerd, box: str) -> None:
    containerd.ok(*containerd.made("--detach"), box, "sleep", "1000")
    containerd.ok("task", "pause", box)
    assert containerd.status(box) == "PAUSED"
    group = f"/sys/fs/cgroup/default/{box}"
    assert "frozen 1" in containerd.place.ok("cat", f"{group}/cgroup.events")
    containerd.ok("task", "resume", box)
    assert containerd.status(box) == "RUNNING"
    assert "frozen 0" in containerd.place.ok("cat", f"{group}/cgroup.events")
    containerd.ok("task", "rm", "--force", box)
    assert containerd.place.run("test", "-e", group).returncode == 1
