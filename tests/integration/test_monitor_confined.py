"""What a container's monitor may change of the file system: what is its container's, and no more."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rootless.engine.containers import confined
from tests.integration.test_confine import in_a_child
from tests.integration.test_detached import about, begin, eventually, state
from tests.integration.test_run_flags import IMAGE
from tests.support.cli import Cli

pytestmark = pytest.mark.needs("userns", "subuid", "newuidmap", "busybox", "landlock")
UNCONFINED = ("--rm", "--restart=always", "--restart=on-failure:2", "--health-cmd=true")


@pytest.fixture(autouse=True)
def _clean(shared_cli: Cli) -> Iterator[None]:
    yield
    shared_cli.ok("rm", "-af", "-t", "0")


def monitor(cli: Cli, name: str) -> Path:
    """The monitor's directory in /proc."""
    return Path("/proc", str(about(cli, name)["State"]["ConmonPid"]))


def is_confined(cli: Cli, name: str) -> bool:
    """Landlock shows itself nowhere; who is confined by it has no_new_privs, too, and a monitor has that from nowhere
    else."""
    return "NoNewPrivs:\t1" in (monitor(cli, name) / "status").read_text()


def test_who_is_confined(shared_cli: Cli) -> None:
    begin(shared_cli, "--name", "plain", IMAGE, "sleep", "100")
    assert is_confined(shared_cli, "plain") and (monitor(shared_cli, "plain") / "comm").read_text() == "rootless\n"
    shared_cli.ok("create", "--network=none", "--name", "foreground", IMAGE, "sleep", "100")
    shared_cli.ok("start", "foreground")
    assert is_confined(shared_cli, "foreground")
    for number, flag in enumerate(UNCONFINED):
        begin(shared_cli, "--name", f"open{number}", flag, IMAGE, "sleep", "100")
        assert not is_confined(shared_cli, f"open{number}"), flag


@pytest.mark.parametrize("size", [(), ("--log-opt=max-size=64k",)])
def test_it_does_its_work(shared_cli: Cli, tmp_path: Path, size: tuple[str, ...]) -> None:
    """The log and its second file, where it usually is and elsewhere; the exit code, the event, and no trace in RUN."""
    elsewhere = tmp_path / "logs" / "own.log"
    elsewhere.parent.mkdir()
    for name, path in (("usual", ()), ("elsewhere", (f"--log-opt=path={elsewhere}",))):
        script = "seq 1 30000; while ! test -e /go; do sleep 0.02; done; exit 7"
        begin(shared_cli, "--name", name, *size, *path, IMAGE, "sh", "-c", script)
        assert is_confined(shared_cli, name)
        shared_cli.ok("exec", name, "touch", "/go")
        assert shared_cli.ok("wait", name) == "7\n"
        assert shared_cli.ok("logs", "--tail=1", name) == "30000\n"
        assert about(shared_cli, name)["State"]["ExitCode"] == 7
    assert len(list(elsewhere.parent.iterdir())) == (2 if size else 1)
    died = shared_cli.ok("events", "--stream=false", "--filter=event=died", "--format={{.Name}} {{.ContainerExitCode}}")
    assert {"usual 7", "elsewhere 7"} <= set(died.splitlines())
    assert os.listdir(shared_cli.home / "run" / "rootless" / "engine") == []


def test_events_after_their_file_was_replaced(shared_cli: Cli) -> None:
    """The new file was not there when the monitor was confined: the end is told in the older one."""
    begin(shared_cli, "--name", "late", IMAGE, "sleep", "100")
    (shared_cli.data / "events.log").rename(shared_cli.data / "events.log.1")
    begin(shared_cli, "--name", "other", IMAGE, "true")
    shared_cli.ok("kill", "late")
    eventually(lambda: state(shared_cli, "late") == "exited", "it ends")
    died = shared_cli.ok("events", "--stream=false", "--filter=event=died", "--format={{.Name}}")
    assert {"late", "other"} <= set(died.split())


@pytest.mark.parametrize("flag", ["--restart=no", "--restart=on-failure:1"])
def test_a_directory_in_the_place_of_its_own(shared_cli: Cli, tmp_path: Path, flag: str) -> None:
    """A link where the container's directory was: who is confined writes nothing where that leads."""
    identifier = begin(shared_cli, "--name", "lured", flag, IMAGE, "sh", "-c", "trap 'exit 0' TERM; sleep 100 & wait")
    directory = shared_cli.data / "containers" / identifier
    keeper = monitor(shared_cli, "lured")
    pid = int(about(shared_cli, "lured")["State"]["Pid"])
    (tmp_path / "outside").mkdir()
    directory.rename(tmp_path / "own")
    directory.symlink_to(tmp_path / "outside")
    try:
        os.kill(pid, 15)
        eventually(lambda: not keeper.exists() or "\tZ" in (keeper / "status").read_text(), "the monitor ends")
        written = os.listdir(tmp_path / "outside")
    finally:
        directory.unlink()
        (tmp_path / "own").rename(directory)
    assert written == ([] if flag == "--restart=no" else ["exit.json"])


def settings(directory: Path, **others: Any) -> dict[str, Any]:
    """As much of a monitor's settings as decides on its rights."""
    (directory / "store" / "containers" / "c").mkdir(parents=True)
    (directory / "run" / "c").mkdir(parents=True)
    for name in ("events.log", "reserve", "other"):
        (directory / "store" / name).write_text("x" * 100)
    return {
        "rm": False, "policy": "no", "health": None, "directory": str(directory / "store/containers/c"), "cgroup": "",
        "run": str(directory / "run/c"), "events": str(directory / "store/events.log"),
        "reserve": str(directory / "store/reserve"), "log": {"driver": "none"}, **others,
    }  # fmt: skip


def test_rights_one_by_one(tmp_path: Path) -> None:
    given = settings(tmp_path)
    store, own = tmp_path / "store", tmp_path / "store/containers/c"

    def attempt(body: Callable[[], object]) -> str:
        def confined_body() -> None:
            assert confined.confine(given)
            body()

        return in_a_child(confined_body)

    def work() -> None:
        (own / "new").write_text("x")
        (own / "new").rename(own / "exit.json")
        (own / "exit.json").unlink()
        with (store / "events.log").open("a") as file:
            file.write("x")
        os.truncate(store / "reserve", 0)
        (tmp_path / "run/c").rmdir()
        Path("/proc/self/comm").write_text("other")
        (store / "other").read_text()

    assert attempt(work) == ""
    for refused in (
        lambda: (store / "other").write_text("y"), lambda: (store / "new").write_text("y"),
        lambda: (store / "other").unlink(), lambda: os.truncate(store / "other", 0), lambda: (own / "d").mkdir(),
        lambda: (store / "events.log").unlink(), lambda: (own / "l").symlink_to("x"), lambda: os.mkfifo(own / "p"),
        lambda: (store / "other").rename(own / "other"), lambda: (tmp_path / "new").write_text("y"),
        lambda: (Path.home() / ".rootless-test").write_text("y"), lambda: os.open("/dev/null", os.O_WRONLY),
    ):  # fmt: skip
        assert attempt(refused).startswith(("PermissionError", "OSError(18")), refused
    assert sorted(path.name for path in store.iterdir()) == ["containers", "events.log", "other", "reserve"]


@pytest.mark.parametrize("wish", [{"rm": True}, {"policy": "always"}, {"health": {"interval": 1}}])
def test_who_starts_the_engine_is_not(tmp_path: Path, wish: dict[str, Any]) -> None:
    def body() -> None:
        assert not confined.confine(settings(tmp_path, **wish))
        (tmp_path / "new").write_text("")

    assert in_a_child(body) == ""
