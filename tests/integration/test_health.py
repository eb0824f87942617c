"""Health checks of real containers: by the monitor's clock and by hand, and what comes of them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.test_detached import NONE, about, begin, eventually, log, state
from tests.integration.test_run_flags import IMAGE
from tests.support import images
from tests.support.cli import Cli

pytestmark = pytest.mark.needs("userns", "subuid", "newuidmap", "busybox")
SLEEP = ("sleep", "1000")
SOON = "--health-interval=200ms"
BY_HAND = "--health-interval=disable"


@pytest.fixture(autouse=True)
def _clean(shared_cli: Cli) -> Iterator[None]:
    yield
    shared_cli.ok("rm", "-af", "-t", "0")
    assert os.listdir(shared_cli.home / "run" / "rootless" / "engine") == []


def checked(cli: Cli, *flags: str, command: tuple[str, ...] = SLEEP) -> str:
    """The id of a container called ``h`` that runs in the background."""
    return begin(cli, "--name", "h", *flags, IMAGE, *command)


def health(cli: Cli, name: str = "h") -> dict[str, Any]:
    found: dict[str, Any] = about(cli, name)["State"]["Health"]
    return found


def is_status(cli: Cli, status: str) -> bool:
    return bool(health(cli)["Status"] == status)


def columns(cli: Cli, *filters: str) -> str:
    return cli.ok("ps", "--format", "{{.Status}}", *(f"--filter=health={word}" for word in filters))


def processes(cli: Cli) -> list[str]:
    """The command lines of what runs in the container, but for zombies."""
    listed = cli.ok("exec", "h", "sh", "-c", "for d in /proc/[0-9]*; do tr '\\0' ' ' <$d/cmdline; echo; done")
    return [line.strip() for line in listed.splitlines() if line.strip()]


def test_it_becomes_healthy_by_the_clock(shared_cli: Cli) -> None:
    checked(shared_cli, "--health-cmd=test -e /well", SOON, "--health-retries=1000")
    assert "(starting)" in columns(shared_cli) and columns(shared_cli, "healthy") == ""
    eventually(lambda: health(shared_cli)["FailingStreak"] >= 2, "checks fail")
    assert is_status(shared_cli, "starting")
    shared_cli.ok("exec", "h", "touch", "/well")
    assert shared_cli.ok("wait", "--condition=healthy", "h") == "-1\n"
    assert columns(shared_cli, "healthy", "unhealthy").rstrip().endswith("(healthy)")
    assert columns(shared_cli, "starting") == columns(shared_cli, "none") == ""
    found = health(shared_cli)
    assert (found["Status"], found["FailingStreak"], found["Log"][-1]["ExitCode"]) == ("healthy", 0, 0)
    assert len(found["Log"]) <= 5 and all(entry["Start"] < entry["End"] for entry in found["Log"])


def test_it_becomes_unhealthy_after_retries_and_well_again(shared_cli: Cli) -> None:
    checked(shared_cli, "--health-cmd=test -e /well || { echo ill; exit 3; }", BY_HAND, "--health-retries=2")
    for streak, status in ((1, "starting"), (2, "unhealthy"), (3, "unhealthy")):
        done = shared_cli.run("healthcheck", "run", "h")
        assert (done.returncode, done.stdout, done.stderr) == (1, "unhealthy\n", "")
        found = health(shared_cli)
        assert (found["Status"], found["FailingStreak"]) == (status, streak)
        assert (found["Log"][-1]["ExitCode"], found["Log"][-1]["Output"]) == (3, "ill\n")
    assert shared_cli.ok("wait", "--condition=unhealthy", "h") == "-1\n"
    assert "(unhealthy)" in columns(shared_cli, "unhealthy")
    shared_cli.ok("exec", "h", "touch", "/well")
    done = shared_cli.run("healthcheck", "run", "h")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert is_status(shared_cli, "healthy")
    assert state(shared_cli, "h") == "running"


def test_failures_do_not_count_in_the_start_period(shared_cli: Cli) -> None:
    checked(shared_cli, "--health-cmd=false", SOON, "--health-retries=1", "--health-start-period=6s")
    eventually(lambda: len(health(shared_cli)["Log"] or ()) >= 2, "two checks")
    assert (health(shared_cli)["Status"], health(shared_cli)["FailingStreak"]) == ("starting", 0)
    eventually(lambda: is_status(shared_cli, "unhealthy"), "the period is over")


def test_the_startup_check_is_tried_first(shared_cli: Cli) -> None:
    checked(
        shared_cli, "--health-cmd=echo regular", "--health-startup-cmd=test -e /up", "--health-startup-interval=200ms",
        "--health-interval=60s",
    )  # fmt: skip
    eventually(lambda: len(health(shared_cli)["Log"] or ()) >= 2, "two checks")
    assert (health(shared_cli)["Status"], health(shared_cli)["FailingStreak"]) == ("starting", 0)
    assert shared_cli.run("healthcheck", "run", "h").stdout == "starting\n"
    shared_cli.ok("exec", "h", "touch", "/up")
    eventually(lambda: health(shared_cli)["Log"][-1]["Output"] == "regular\n", "the regular check follows at once")
    assert is_status(shared_cli, "healthy")


def test_a_startup_check_that_never_succeeds_restarts(shared_cli: Cli) -> None:
    checked(
        shared_cli, "--health-cmd=true", "--health-startup-cmd=false", "--health-startup-interval=100ms",
        "--health-startup-retries=2", "--stop-timeout=0",
    )  # fmt: skip
    eventually(lambda: about(shared_cli, "h")["RestartCount"] >= 1, "it is restarted")


@pytest.mark.parametrize("action", ["kill", "stop"])
@pytest.mark.parametrize("policy", ["no", "always"])
def test_an_unhealthy_container_is_ended(shared_cli: Cli, action: str, policy: str) -> None:
    script = "trap 'echo asked; exit 7' TERM; while :; do sleep 0.05; done"
    checked(
        shared_cli, "--health-cmd=false", SOON, "--health-retries=2", f"--health-on-failure={action}",
        f"--restart={policy}", command=("sh", "-c", script),
    )  # fmt: skip
    assert shared_cli.ok("wait", "h") == ("137\n" if action == "kill" else "7\n")
    found = about(shared_cli, "h")
    assert (found["State"]["Health"]["Status"], found["State"]["StoppedByUser"]) == ("unhealthy", True)
    assert found["Config"]["HealthcheckOnFailureAction"] == action
    time.sleep(0.5)
    assert (state(shared_cli, "h"), about(shared_cli, "h")["RestartCount"]) == ("exited", 0)


def test_one_that_does_not_end_when_asked_is_killed(shared_cli: Cli) -> None:
    flags = ("--health-cmd=false", SOON, "--health-retries=1", "--health-on-failure=stop", "--stop-timeout=3")
    checked(shared_cli, *flags)
    assert shared_cli.ok("wait", "h") == "137\n"


@pytest.mark.parametrize("how", ["clock", "hand"])
def test_an_unhealthy_container_is_restarted(shared_cli: Cli, how: str) -> None:
    checked(
        shared_cli, "--health-cmd=test $(cat /runs | wc -l) -gt 1", SOON if how == "clock" else BY_HAND,
        "--health-retries=1", "--health-on-failure=restart", "--stop-timeout=0",
        command=("sh", "-c", "echo >>/runs; exec sleep 1000"),
    )  # fmt: skip
    first = about(shared_cli, "h")["State"]
    if how == "hand":
        eventually(lambda: shared_cli.run("exec", "h", "test", "-e", "/runs").returncode == 0, "it has begun")
        assert shared_cli.run("healthcheck", "run", "h").returncode == 1
        eventually(lambda: about(shared_cli, "h")["RestartCount"] == 1, "it is restarted")
        eventually(lambda: state(shared_cli, "h") == "running", "it runs")
        assert is_status(shared_cli, "starting")
        eventually(lambda: shared_cli.run("healthcheck", "run", "h").returncode == 0, "it is healthy")
    eventually(lambda: is_status(shared_cli, "healthy"), "it is healthy")
    found = about(shared_cli, "h")
    assert found["State"]["Pid"] != first["Pid"] and found["State"]["ConmonPid"] == first["ConmonPid"]
    assert (found["RestartCount"], found["State"]["Status"]) == (1, "running")
    assert [entry["ExitCode"] for entry in found["State"]["Health"]["Log"]][:2] == [1, 0]


def test_a_container_that_removes_itself_is_restarted_first(shared_cli: Cli) -> None:
    """It keeps its files, and is removed when it ends for another reason."""
    checked(
        shared_cli, "--rm", "--health-cmd=false", BY_HAND, "--health-retries=1", "--health-on-failure=restart",
        "--stop-timeout=0",
    )  # fmt: skip
    shared_cli.ok("exec", "h", "touch", "/kept")
    shared_cli.fails(1, "healthcheck", "run", "h")
    eventually(lambda: about(shared_cli, "h")["RestartCount"] == 1, "it is restarted")
    eventually(lambda: shared_cli.run("exec", "h", "test", "-e", "/kept").returncode == 0, "it runs")
    shared_cli.ok("stop", "-t", "0", "h")
    eventually(lambda: shared_cli.run("container", "exists", "h").returncode == 1, "it is removed")


def test_a_user_who_stops_it_is_stronger(shared_cli: Cli) -> None:
    script = "trap 'sleep 1; exit 4' TERM; while :; do sleep 0.05; done"
    checked(
        shared_cli, "--health-cmd=test ! -e /ill", SOON, "--health-retries=1", "--health-on-failure=restart",
        command=("sh", "-c", script),
    )  # fmt: skip
    shared_cli.ok("wait", "--condition=healthy", "h")
    shared_cli.ok("exec", "h", "touch", "/ill")
    shared_cli.ok("stop", "h")
    time.sleep(0.5)
    assert (state(shared_cli, "h"), about(shared_cli, "h")["RestartCount"]) == ("exited", 0)


def test_a_check_that_takes_too_long_is_killed_whole(shared_cli: Cli) -> None:
    script = "echo begun; (setsid sleep 771 &); setsid sleep 772 & (sleep 773 &); sleep 774"
    checked(shared_cli, f"--health-cmd={script}", BY_HAND, "--health-timeout=1s", command=("sleep", "770"))
    begun = time.monotonic()
    done = shared_cli.run("healthcheck", "run", "h")
    assert (done.returncode, done.stdout) == (1, "unhealthy\n")
    assert time.monotonic() - begun < 20
    found = health(shared_cli)["Log"][-1]
    assert found["ExitCode"] == -1
    assert found["Output"] == "begun\nhealth check exceeded timeout of 1s"
    assert [line for line in processes(shared_cli) if "sleep" in line] == ["sleep 770"]


def test_a_check_that_writes_without_end_is_killed(shared_cli: Cli) -> None:
    checked(shared_cli, "--health-cmd=yes", BY_HAND, "--health-timeout=1s")
    assert shared_cli.run("healthcheck", "run", "h").returncode == 1
    found = health(shared_cli)["Log"][-1]
    assert (found["ExitCode"], len(found["Output"])) == (-1, 500)
    assert "yes" not in processes(shared_cli)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_check_ends_with_who_waits_for_it(shared_cli: Cli, number: int) -> None:
    checked(shared_cli, "--health-cmd=sleep 779", BY_HAND)
    caller = shared_cli.popen("healthcheck", "run", "h")
    eventually(lambda: "sleep 779" in processes(shared_cli), "the check runs")
    caller.send_signal(number)
    caller.wait(20)
    _close(caller)
    eventually(lambda: "sleep 779" not in processes(shared_cli), "the check has ended")
    assert health(shared_cli) == {"Status": "starting", "FailingStreak": 0, "Log": None}


def test_a_fork_bomb_ends_with_the_check(shared_cli: Cli) -> None:
    bomb = "b() { b | b & }; trap '' TERM HUP; sleep 776 & b; while :; do sleep 0.1; done"
    flags = (f"--health-cmd={bomb}", BY_HAND, "--health-timeout=300ms", "--pids-limit=60", "--init")
    checked(shared_cli, *flags, command=("sleep", "775"))
    assert shared_cli.run("healthcheck", "run", "h").returncode == 1
    eventually(lambda: shared_cli.run("exec", "h", "true").returncode == 0, "there is room again")
    assert [line for line in processes(shared_cli) if line.startswith("sleep 77")] == ["sleep 775"]


def test_what_a_check_leaves_behind_is_not_waited_for(shared_cli: Cli) -> None:
    checked(shared_cli, "--health-cmd=echo said; sleep 777 &", BY_HAND)
    begun = time.monotonic()
    shared_cli.ok("healthcheck", "run", "h")
    assert time.monotonic() - begun < 15
    assert health(shared_cli)["Log"][-1]["Output"] == "said\n"


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [('["/no/such", "program"]', 127, "not found"), ('["/etc", "x"]', 126, "/etc"), ("exit 125", 125, "")],
)
def test_what_cannot_be_executed_has_failed(shared_cli: Cli, command: str, code: int, words: str) -> None:
    checked(shared_cli, f"--health-cmd={command}", BY_HAND)
    assert shared_cli.run("healthcheck", "run", "h").stdout == "unhealthy\n"
    found = health(shared_cli)["Log"][-1]
    assert found["ExitCode"] == code and words in found["Output"]


def test_one_at_a_time_and_nobody_waits_for_a_slow_one(shared_cli: Cli) -> None:
    script = "while :; do echo x; sleep 0.1; done"
    checked(shared_cli, "--health-cmd=echo check >>/proc/1/fd/1; sleep 3", SOON, command=("sh", "-c", script))
    eventually(lambda: "check" in log(shared_cli, "h"), "the check has begun")
    before = log(shared_cli, "h").count("x\n")
    time.sleep(1.5)
    assert log(shared_cli, "h").count("x\n") >= before + 5, "output goes on"
    assert log(shared_cli, "h").count("check") == 1
    begun = time.monotonic()
    shared_cli.ok("rm", "-f", "-t", "0", "h")
    assert time.monotonic() - begun < 3


def test_a_container_that_does_not_read_its_input_is_ended_all_the_same(shared_cli: Cli) -> None:
    """What was typed waits for it, but the monitor hears at once who has something else to say."""
    flags = ("--health-cmd=false", "--health-on-failure=kill", "--health-retries=1", BY_HAND)
    caller = shared_cli.popen("run", NONE, "--name", "h", "-i", *flags, IMAGE, *SLEEP)
    assert caller.stdin is not None
    os.set_blocking(caller.stdin.fileno(), False)
    eventually(lambda: shared_cli.run("ps", "-q").stdout, "it runs")
    stuck = 0
    while stuck < 20:
        try:
            os.write(caller.stdin.fileno(), b"x" * 65536)
            stuck = 0
        except BlockingIOError:
            stuck += 1
            time.sleep(0.05)
    begun = time.monotonic()
    shared_cli.fails(1, "healthcheck", "run", "h")
    assert time.monotonic() - begun < 4.5
    assert caller.wait(20) == 137
    _close(caller)


def _close(caller: subprocess.Popen[bytes]) -> None:
    """Let go of somebody who was started with pipes."""
    caller.kill()
    caller.wait()
    for stream in (caller.stdin, caller.stdout, caller.stderr):
        if stream is not None:
            try:
                stream.close()
            except OSError:  # what is still to be written has no reader
                continue


def test_the_end_of_a_container_is_no_result(shared_cli: Cli) -> None:
    identifier = checked(
        shared_cli, "--health-cmd=sleep 30", SOON, "--health-retries=1", "--health-on-failure=restart",
    )  # fmt: skip
    eventually(lambda: "sleep 30" in processes(shared_cli), "the check runs")
    shared_cli.ok("stop", "-t", "0", "h")
    eventually(lambda: not _engines(identifier), "the check has ended")
    assert health(shared_cli) == {"Status": "starting", "FailingStreak": 0, "Log": None}
    assert "not running" in shared_cli.fails(125, "healthcheck", "run", "h")
    assert "has ended" in shared_cli.fails(125, "wait", "--condition=healthy", "h")


def _engines(identifier: str) -> list[str]:
    """The processes outside that check this container."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if identifier.encode() in words and b"healthcheck" in words:
            found.append(path.parent.name)
    return found


def test_a_killed_monitor_takes_the_check_with_it(shared_cli: Cli) -> None:
    identifier = checked(shared_cli, "--health-cmd=sleep 778", SOON)
    eventually(lambda: "sleep 778" in processes(shared_cli), "the check runs")
    os.kill(about(shared_cli, "h")["State"]["ConmonPid"], signal.SIGKILL)
    eventually(lambda: state(shared_cli, "h") == "exited", "the container has ended")
    eventually(lambda: not _engines(identifier), "the check has ended")
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert "sleep 778" not in listed.splitlines()
    shared_cli.ok("start", "h")
    assert is_status(shared_cli, "starting")


def test_the_clock_begins_with_the_program(shared_cli: Cli) -> None:
    shared_cli.ok("create", NONE, "--name", "h", "--health-cmd=true", "--health-interval=60s", IMAGE, *SLEEP)
    assert health(shared_cli) == {"Status": "starting", "FailingStreak": 0, "Log": None}
    shared_cli.ok("init", "h")
    time.sleep(1)
    assert health(shared_cli)["Log"] is None
    shared_cli.fails(125, "healthcheck", "run", "h")
    shared_cli.ok("start", "h")
    eventually(lambda: is_status(shared_cli, "healthy"), "it is checked at once")


def test_a_container_that_removes_itself_is_checked_too(shared_cli: Cli) -> None:
    caller = shared_cli.popen("run", "--rm", NONE, "--name", "h", "--health-cmd=true", SOON, IMAGE, *SLEEP)
    try:
        eventually(lambda: "(healthy)" in columns(shared_cli), "it is healthy")
        shared_cli.ok("kill", "h")
        assert caller.wait(20) == 137
    finally:
        _close(caller)
    eventually(lambda: shared_cli.run("container", "exists", "h").returncode == 1, "it is gone")


def test_results_are_bounded(shared_cli: Cli) -> None:
    checked(
        shared_cli, "--health-cmd=yes 0123456789 | head -c 5000000", BY_HAND, "--health-max-log-count=2",
        "--health-max-log-size=15",
    )  # fmt: skip
    for _ in range(3):
        shared_cli.ok("healthcheck", "run", "h")
    assert [entry["Output"] for entry in health(shared_cli)["Log"]] == ["0123456789\n0123"] * 2


def test_without_bounds_a_million_characters_are_kept(shared_cli: Cli) -> None:
    flags = ("--health-max-log-count=0", "--health-max-log-size=0")
    checked(shared_cli, "--health-cmd=head -c 3000000 /dev/zero", BY_HAND, *flags)
    for _ in range(7):
        shared_cli.ok("healthcheck", "run", "h")
    assert [len(entry["Output"]) for entry in health(shared_cli)["Log"]] == [1_000_000] * 7


def test_results_go_to_a_directory(shared_cli: Cli, tmp_path: Path) -> None:
    identifier = checked(shared_cli, "--health-cmd=echo said", BY_HAND, f"--health-log-destination={tmp_path}")
    shared_cli.ok("healthcheck", "run", "h")
    found = json.loads((tmp_path / f"{identifier}-healthcheck.log").read_text())
    assert (found["Status"], found["Log"][0]["Output"]) == ("healthy", "said\n")
    assert is_status(shared_cli, "healthy")
    assert os.listdir(tmp_path) == [f"{identifier}-healthcheck.log"]
    assert about(shared_cli, "h")["Config"]["HealthLogDestination"] == str(tmp_path)


def test_events_tell_of_checks(shared_cli: Cli) -> None:
    flags = ("--health-cmd=echo said; test -e /well", BY_HAND, "--health-log-destination=events_logger")
    identifier = checked(shared_cli, *flags)
    shared_cli.run("healthcheck", "run", "h")
    shared_cli.ok("exec", "h", "touch", "/well")
    shared_cli.ok("healthcheck", "run", "h")
    filters = ("--stream=false", f"--filter=container={identifier}", "--filter=event=health_status")
    events = [json.loads(line) for line in shared_cli.ok("events", "--format=json", *filters).splitlines()]
    assert [event["health_status"] for event in events] == ["starting", "healthy"]
    assert (events[0]["health_failing_streak"], events[0]["health_log"]) == (1, "said\n")
    assert "health_status" not in events[0]["Attributes"]
    line = shared_cli.ok("events", *filters).splitlines()[-1]
    assert "name=h, health_log=said\\n, health_status=healthy, maker=tests" in line
    assert shared_cli.ok("events", "--format={{.HealthStatus}}", *filters).splitlines()[-1] == "healthy"
    sessions = shared_cli.ok("events", *filters[:2], "--filter=event=exec").splitlines()
    assert len(sessions) == 1, "checks are no sessions of the user's"


def test_the_service_manager_is_told_when_it_is_healthy(shared_cli: Cli) -> None:
    path = shared_cli.home / "notify-healthy"
    flags = ("--sdnotify=healthy", "--health-cmd=test -e /well", SOON, "--health-retries=1000")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.settimeout(20)
        shared_cli.run("run", "-d", NONE, "--name=h", *flags, IMAGE, *SLEEP, env={"NOTIFY_SOCKET": str(path)})
        keeper = about(shared_cli, "h")["State"]["ConmonPid"]
        assert manager.recv(1000) == b"MAINPID=%d" % keeper
        eventually(lambda: health(shared_cli)["FailingStreak"], "a check has failed")
        manager.settimeout(0.5)
        with pytest.raises(TimeoutError):
            manager.recv(1000)
        manager.settimeout(20)
        shared_cli.ok("exec", "h", "touch", "/well")
        assert manager.recv(1000) == b"READY=1\nMAINPID=%d" % keeper
        manager.settimeout(1)
        with pytest.raises(TimeoutError):
            manager.recv(1000)


def test_the_service_manager_hears_of_health_only_where_it_wants(shared_cli: Cli) -> None:
    path = shared_cli.home / "notify-conmon"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.settimeout(20)
        flags = ("--sdnotify=conmon", "--health-cmd=true", SOON)
        shared_cli.run("run", "-d", NONE, "--name=h", *flags, IMAGE, *SLEEP, env={"NOTIFY_SOCKET": str(path)})
        assert manager.recv(1000).startswith(b"READY=1\n")
        shared_cli.ok("wait", "--condition=healthy", "h")
        manager.settimeout(1)
        with pytest.raises(TimeoutError):
            manager.recv(1000)


def test_the_image_may_have_a_check(shared_cli: Cli, tmp_path: Path) -> None:
    layout = images.Layout(tmp_path)
    check = {"Test": ["CMD-SHELL", "echo image"], "Interval": 200_000_000, "Retries": 2}
    layout.add_image("latest", [layout.add_layer(images.busybox_tar())], {"Healthcheck": check})
    image = shared_cli.ok("pull", "--quiet", f"oci:{tmp_path}:latest").strip()
    begin(shared_cli, "--name", "h", image, *SLEEP)
    eventually(lambda: is_status(shared_cli, "healthy"), "it is healthy")
    assert about(shared_cli, "h")["Config"]["Healthcheck"] == {**check, "Timeout": 30_000_000_000}
    begin(shared_cli, "--name", "other", "--health-cmd=exit 5", "--health-retries=1", image, *SLEEP)
    eventually(lambda: health(shared_cli, "other")["Status"] == "unhealthy", "the flag is stronger")
    begin(shared_cli, "--name", "unchecked", "--no-healthcheck", image, *SLEEP)
    found = about(shared_cli, "unchecked")
    assert (found["State"]["Health"], found["Config"]["Healthcheck"]) == (None, None)
    assert "no defined healthcheck" in shared_cli.fails(125, "healthcheck", "run", "unchecked")
    shared_cli.ok("rm", "-af", "-t", "0")
    shared_cli.ok("rmi", image)


def test_a_clone_is_checked_as_the_original(shared_cli: Cli) -> None:
    checked(shared_cli, "--health-cmd=echo same", BY_HAND, "--health-retries=7")
    shared_cli.ok("container", "clone", "h", "copy")
    assert about(shared_cli, "copy")["Config"]["Healthcheck"] == about(shared_cli, "h")["Config"]["Healthcheck"]


def test_a_check_is_changed_while_the_container_runs(shared_cli: Cli, tmp_path: Path) -> None:
    identifier = checked(shared_cli, "--health-cmd=exit 3", "--health-interval=60s", "--stop-timeout=0")
    eventually(lambda: health(shared_cli)["FailingStreak"] == 1, "the first check")
    flags = ("--health-retries=3", "--health-on-failure=restart", f"--health-log-destination={tmp_path}")
    assert shared_cli.ok("update", SOON, *flags, "h") == identifier + "\n"
    assert (tmp_path / f"{identifier}-healthcheck.log").exists()
    eventually(lambda: about(shared_cli, "h")["RestartCount"] == 1, "it is restarted after two more")
    shared_cli.ok("update", "--health-cmd=true", "h")
    eventually(lambda: is_status(shared_cli, "healthy"), "it is healthy")
    shared_cli.ok("update", "--no-healthcheck", "h")
    assert about(shared_cli, "h")["State"]["Health"] is None
    assert "no defined healthcheck" in shared_cli.fails(125, "healthcheck", "run", "h")
    told = shared_cli.fails(125, "update", "--health-cmd=true", "h")
    assert "while it runs" in told and "hint: " in told
    shared_cli.fails(125, "update", "--health-retries=0", "h")
    shared_cli.ok("stop", "-t", "0", "h")
    shared_cli.ok("update", "--health-cmd=true", SOON, "h")
    shared_cli.ok("start", "h")
    eventually(lambda: is_status(shared_cli, "healthy"), "it is checked")


def test_what_has_no_check(shared_cli: Cli) -> None:
    begin(shared_cli, "--name", "h", IMAGE, *SLEEP)
    assert about(shared_cli, "h")["State"]["Health"] is None
    assert "(" not in columns(shared_cli, "none")
    for words in (("healthcheck", "run", "h"), ("wait", "--condition=healthy", "h")):
        assert "no defined healthcheck" in shared_cli.fails(125, *words)
    assert "no such container" in shared_cli.fails(125, "healthcheck", "run", "nobody")
    told = shared_cli.fails(125, "create", "--sdnotify=healthy", IMAGE, *SLEEP)
    assert "no health check" in told and "hint: " in told
    directory = shared_cli.data / "containers" / about(shared_cli, "h")["Id"]
    assert not (directory / "health.json").exists()


# Security.


def test_the_call_filter_is_in_force_for_checks_row_65(shared_cli: Cli) -> None:
    checked(shared_cli, "--health-cmd=grep -E '^(Seccomp|NoNewPrivs|CapEff):' /proc/self/status", BY_HAND,
            "--security-opt=no-new-privileges", "--cap-drop=all")  # fmt: skip
    shared_cli.ok("healthcheck", "run", "h")
    words = health(shared_cli)["Log"][0]["Output"].split()
    assert dict(zip(words[::2], words[1::2], strict=True)) == {
        "CapEff:": "0" * 16, "NoNewPrivs:": "1", "Seccomp:": "2",
    }  # fmt: skip


def test_no_descriptor_reaches_a_check_row_41(shared_cli: Cli) -> None:
    leaked = [os.open("/", os.O_RDONLY) for _ in range(20)]
    try:
        for fd in leaked:
            os.set_inheritable(fd, True)
        subprocess.run(
            shared_cli.command("run", "-d", NONE, "--name=h", "--health-cmd=ls /proc/self/fd", SOON, IMAGE, *SLEEP),
            env=shared_cli.environment, close_fds=False, check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        eventually(lambda: is_status(shared_cli, "healthy"), "it was checked")
        by_hand = shared_cli.command("healthcheck", "run", "h")
        subprocess.run(by_hand, env=shared_cli.environment, close_fds=False, check=True)
    finally:
        for fd in leaked:
            os.close(fd)
    for entry in health(shared_cli)["Log"]:
        assert entry["Output"].split() == ["0", "1", "2", "3"], "3 is the directory that ls reads"


def test_no_program_of_the_image_is_run_on_the_host_row_62(shared_cli: Cli, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    script = f"#!/bin/busybox sh\necho $0 >>{mark}\n"
    traps = tmp_path / "traps"
    traps.mkdir()
    for name in ("sh", "ps", "nsenter", "env", "cat", "python3", "kill"):
        (traps / name).write_text(script)
        (traps / name).chmod(0o755)
    checked(shared_cli, "--env=PATH=/traps", f"--volume={traps}:/traps:ro", "--health-cmd=exit 0", BY_HAND,
            "--health-timeout=1s", command=("/bin/busybox", "sleep", "1000"))  # fmt: skip
    assert shared_cli.run("healthcheck", "run", "h").returncode == 0
    assert not mark.exists()


def test_the_monitor_stays_small(shared_cli: Cli) -> None:
    """7 MiB at most, and no more than without a check but for what the clock takes."""
    sizes = {}
    for name, flags in (("plain", ()), ("h", ("--health-cmd=true", "--health-interval=100ms"))):
        begin(shared_cli, "--name", name, *flags, IMAGE, *SLEEP)
        if flags:
            eventually(lambda: len(health(shared_cli)["Log"] or ()) == 5, "five checks")
        keeper = about(shared_cli, name)["State"]["ConmonPid"]
        rollup = Path(f"/proc/{keeper}/smaps_rollup").read_text().split()
        sizes[name] = int(rollup[rollup.index("Pss:") + 1])
    assert sizes["h"] < 7 << 10
    assert sizes["h"] - sizes["plain"] < 512, sizes
