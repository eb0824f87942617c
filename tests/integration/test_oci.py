"""The OCI runtime's command line: bundles run, are seen, are killed and leave nothing behind."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rootless.cli import oci_grammar
from rootless.cli.report import ENGINE_ERROR
from rootless.runtime.delete import delete_tree
from tests.support import bundles
from tests.support.cli import entry_point
from tests.support.fixtures import require

PATIENCE = 10.0
HOOKS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")


class Runtime:
    """One bundle, and the program with state of its own."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.bundle = home / "bundle"
        self.log = home / "log.json"
        self.environment = {**os.environ, "HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")}

    def command(self, *words: str) -> list[str]:
        return [*entry_point("rootless-oci"), "--root", str(self.home / "state"), *words]

    def run(self, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*words), input=stdin, capture_output=True, text=True, env=self.environment, timeout=60,
            check=False,
        )  # fmt: skip

    def ok(self, *words: str, stdin: str = "") -> str:
        done = self.run(*words, stdin=stdin)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def fails(self, *words: str, code: int = ENGINE_ERROR) -> str:
        done = self.run(*words)
        assert done.returncode == code and "Traceback" not in done.stderr, done.stderr
        return done.stderr

    def box(self, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return self.run("run", "--bundle", str(self.bundle), *words, "box", stdin=stdin)

    def write(self, spec: dict[str, Any]) -> None:
        if os.getuid() == 0:
            spec["linux"]["namespaces"] = [one for one in spec["linux"]["namespaces"] if one["type"] != "user"]
        (self.bundle / "config.json").write_text(json.dumps(spec))

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Run a program in the background and wait until it runs."""
        self.write(bundles.spec(*arguments))
        command = self.command("run", "--bundle", str(self.bundle), "box")
        started = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=self.environment)
        until(lambda: self.status() == "running")
        return started

    def status(self) -> str:
        done = self.run("state", "box")
        return str(json.loads(done.stdout)["status"]) if done.returncode == 0 else "absent"


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[Runtime]:
    require("userns", "busybox")
    made = Runtime(tmp_path)
    made.bundle.mkdir()
    bundles.make_root(made.bundle / "rootfs")
    yield made
    made.run("delete", "--force", "box")
    delete_tree(str(tmp_path))


BOTH = pytest.mark.parametrize("_who", [pytest.param("user"), pytest.param("root", marks=pytest.mark.as_root)])


@BOTH
def test_run(_who: str, runtime: Runtime) -> None:
    given = bundles.spec("sh", "-c", "cat; echo error >&2; id -u; hostname; exit 7")
    runtime.write(given)
    done = runtime.box(stdin="given\n")
    assert (done.returncode, done.stdout, done.stderr) == (7, "given\n0\nbox\n", "error\n")
    assert runtime.ok("list", "--quiet") == ""


@BOTH
@pytest.mark.parametrize("rootless", [True, False])
def test_spec_runs_as_it_is(_who: str, runtime: Runtime, rootless: bool) -> None:
    runtime.ok("spec", "--bundle", str(runtime.bundle), *["--rootless"] * rootless)
    written = json.loads((runtime.bundle / "config.json").read_text())
    has_users = {"type": "user"} in written["linux"]["namespaces"]
    assert has_users == (rootless or os.getuid() != 0)
    done = runtime.box(stdin="echo is $((6*7)); exit 5\n")
    assert done.returncode == 5 and "is 42" in done.stdout, done.stderr


def test_spec_replaces_nothing(runtime: Runtime) -> None:
    (runtime.bundle / "config.json").write_text("mine")
    assert "it exists" in runtime.fails("spec", "-b", str(runtime.bundle))
    assert (runtime.bundle / "config.json").read_text() == "mine"


@pytest.mark.parametrize(("program", "code", "word"), [("/nope", 127, "No such file"), ("/etc/passwd", 126, "denied")])
def test_program_that_cannot_be_started(runtime: Runtime, program: str, code: int, word: str) -> None:
    runtime.write(bundles.spec(program))
    done = runtime.box()
    assert done.returncode == code and word in done.stderr
    assert runtime.status() == "absent"


@BOTH
def test_state_list_kill_delete(_who: str, runtime: Runtime) -> None:
    runtime.environment["TZ"] = "UTC"
    given = runtime.start("sh", "-c", "trap 'echo got; exit 9' TERM; while :; do sleep 0.1; done")
    state = json.loads(runtime.ok("state", "box"))
    assert state["id"] == "box" and state["status"] == "running" and state["bundle"] == str(runtime.bundle)
    assert state["ociVersion"].startswith("1.") and state["annotations"] == {}
    os.stat(f"/proc/{state['pid']}")
    (listed,) = json.loads(runtime.ok("list", "--format=json"))
    assert listed["id"] == "box" and listed["pid"] == state["pid"]
    heading, row = runtime.ok("list").splitlines()
    assert heading.split() == ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]
    assert row.split()[:3] == ["box", str(state["pid"]), "running"]
    assert runtime.ok("list", "-q") == "box\n"
    assert "the ID is in use" in runtime.box().stderr
    assert "it is running" in runtime.fails("delete", "box")
    assert "no such signal" in runtime.fails("kill", "box", "NOPE")
    runtime.ok("kill", "box")
    assert given.communicate(timeout=PATIENCE)[0] == "got\n"
    assert given.returncode == 9
    assert runtime.status() == "absent"


def test_kill_all(runtime: Runtime) -> None:
    child = "trap 'echo child; exit' USR1; touch /tmp/ready; while :; do sleep 0.1; done"
    given = runtime.start("sh", "-c", f"trap 'wait $!; exit 4' USR1; sh -c \"{child}\" & wait $!; wait $!; exit 4")
    until((runtime.bundle / "rootfs/tmp/ready").exists)
    runtime.ok("kill", "--all", "box", "USR1")
    assert given.communicate(timeout=PATIENCE)[0] == "child\n"
    assert given.returncode == 4


def test_kill_all_without_a_pid_namespace(runtime: Runtime) -> None:
    spec = bundles.spec("sleep", "60")
    spec["linux"]["namespaces"] = [one for one in spec["linux"]["namespaces"] if one["type"] != "pid"]
    runtime.write(spec)
    command = runtime.command("--cgroup-manager", "disabled", "run", "--bundle", str(runtime.bundle), "box")
    with subprocess.Popen(command, env=runtime.environment):
        until(lambda: runtime.status() == "running")
        assert "neither a pid namespace" in runtime.fails("kill", "-a", "box", "KILL")
        runtime.ok("kill", "box", "KILL")


@BOTH
def test_delete_by_force(_who: str, runtime: Runtime) -> None:
    given = runtime.start("sleep", "60")
    runtime.ok("delete", "--force", "box")
    assert runtime.status() == "absent"
    given.communicate(timeout=PATIENCE)
    assert given.returncode == 128 + signal.SIGKILL
    runtime.ok("delete", "-f", "box")
    assert "does not exist" in runtime.fails("delete", "box")


def test_signals_reach_the_container(runtime: Runtime) -> None:
    given = runtime.start("sh", "-c", "trap 'echo got; exit 9' HUP; while :; do sleep 0.1; done")
    given.send_signal(signal.SIGHUP)
    assert given.communicate(timeout=PATIENCE)[0] == "got\n"
    assert given.returncode == 9


def test_killed_runtime_leaves_a_stopped_container(runtime: Runtime) -> None:
    spec = bundles.spec("sleep", "60")
    spec["hooks"] = {"poststop": [{"path": "/bin/touch", "args": ["touch", str(runtime.home / "stopped")]}]}
    runtime.write(spec)
    given = subprocess.Popen(
        runtime.command("run", "--bundle", str(runtime.bundle), "box"), env=runtime.environment
    )
    until(lambda: runtime.status() == "running")
    pid = json.loads(runtime.ok("state", "box"))["pid"]
    given.kill()
    given.wait()
    until(lambda: runtime.status() == "stopped")
    assert not os.path.exists(f"/proc/{pid}/exe")
    assert json.loads(runtime.ok("list", "-f", "json"))[0]["pid"] == 0
    assert "not running" in runtime.fails("kill", "box")
    runtime.ok("delete", "box")
    assert (runtime.home / "stopped").exists()
    assert runtime.status() == "absent"


def test_reserved_but_never_started(runtime: Runtime) -> None:
    (runtime.home / "state" / "box").mkdir(parents=True)
    assert runtime.status() == "stopped"
    runtime.ok("delete", "box")


def test_pid_file_and_preserved_descriptors(runtime: Runtime) -> None:
    runtime.write(bundles.spec("sh", "-c", "echo from inside >&3; ! echo no >&4"))
    flags = ("--pid-file", str(runtime.home / "pid"), "--preserve-fds", "1")
    command = runtime.command("run", "-b", str(runtime.bundle), *flags, "box")
    shell = ["sh", "-c", 'exec "$@" 3>"$OUT" 4>&1', "sh", *command]
    environment = {**runtime.environment, "OUT": str(runtime.home / "out")}
    done = subprocess.run(shell, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0 and done.stdout == "", done.stderr
    assert (runtime.home / "out").read_text() == "from inside\n"
    assert int((runtime.home / "pid").read_text()) > 1
    assert "it is not open" in runtime.fails("run", "-b", str(runtime.bundle), "--preserve-fds", "9", "box")


def test_terminal(runtime: Runtime) -> None:
    spec = bundles.spec("sh", "-c", "test -t 0 && test -t 1 && stty size; exit 6")
    spec["process"]["terminal"] = True
    runtime.write(spec)
    master, slave = pty.openpty()
    subprocess.run(["stty", "rows", "33", "cols", "77"], stdin=slave, check=True)
    command = runtime.command("run", "-b", str(runtime.bundle), "box")
    done = subprocess.run(command, stdin=slave, stdout=slave, stderr=slave, env=runtime.environment, check=False)
    assert done.returncode == 6
    assert b"33 77" in os.read(master, 1000)
    os.close(master)
    os.close(slave)


def test_hooks_run_in_order_with_the_state(runtime: Runtime) -> None:
    script = runtime.home / "hook"
    script.write_text(f"#!/bin/sh\nread -r state\necho \"$1 $state\" >>{runtime.home}/hooks\n")
    script.chmod(0o755)
    spec = bundles.spec("cat", "/inside")
    spec["annotations"] = {"a": "b"}
    spec["hooks"] = {moment: [{"path": str(script), "args": ["hook", moment]}] for moment in HOOKS}
    spec["hooks"]["startContainer"] = [{"path": "/bin/cp", "args": ["cp", "/dev/stdin", "/inside"]}]
    runtime.write(spec)
    done = runtime.box()
    assert done.returncode == 0, done.stderr
    started = json.loads(done.stdout)
    seen = [line.split(" ", 1) for line in (runtime.home / "hooks").read_text().splitlines()]
    assert [moment for moment, _ in seen] == [moment for moment in HOOKS if moment != "startContainer"]
    states = {moment: json.loads(state) for moment, state in seen} | {"startContainer": started}
    assert [states[moment]["status"] for moment in HOOKS] == [*["creating"] * 3, "created", "running", "stopped"]
    for state in states.values():
        assert state["id"] == "box" and state["bundle"] == str(runtime.bundle) and state["annotations"] == {"a": "b"}


@pytest.mark.parametrize("moment", ["prestart", "createRuntime", "createContainer", "startContainer", "poststart"])
def test_failed_hook_ends_the_container(runtime: Runtime, moment: str) -> None:
    spec = bundles.spec("sleep", "60")
    spec["hooks"] = {
        moment: [{"path": "/bin/false"}],
        "poststop": [{"path": "/bin/touch", "args": ["touch", str(runtime.home / "stopped")]}],
    }
    runtime.write(spec)
    done = runtime.box()
    assert done.returncode == ENGINE_ERROR
    assert f"the {moment} hook /bin/false failed: exit code 1" in done.stderr
    assert (runtime.home / "stopped").exists() and runtime.status() == "absent"


def test_failed_poststop_hook_is_a_warning(runtime: Runtime) -> None:
    spec = bundles.spec("true")
    touch = {"path": "/bin/touch", "args": ["touch", str(runtime.home / "second")]}
    spec["hooks"] = {"poststop": [{"path": "/bin/false"}, touch]}
    runtime.write(spec)
    done = runtime.box()
    assert done.returncode == 0 and "warning: " in done.stderr
    assert (runtime.home / "second").exists()


def test_relative_bind(runtime: Runtime) -> None:
    (runtime.bundle / "data").write_text("of the bundle\n")
    spec = bundles.spec("cat", "/data")
    spec["mounts"].append({"destination": "/data", "type": "bind", "source": "data", "options": ["bind", "ro"]})
    runtime.write(spec)
    assert runtime.box().stdout == "of the bundle\n"


def changed(place: str, value: object) -> dict[str, Any]:
    """A Spec with one member changed."""
    spec = bundles.spec("true")
    *parents, last = place.split(".")
    target = spec
    for name in parents:
        target = target.setdefault(name, {})
    target[last] = value
    return spec


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        ("linux.resources", {"memory": {"limit": "much"}}, "linux.resources.memory"),
        ("linux.resources", {"network": {"classID": 5}}, "linux.resources.network"),
        ("linux.intelRdt", {"closID": "x"}, "Intel RDT is not supported"),
        ("linux.timeOffsets", {"monotonic": {"secs": 1}}, "linux.timeOffsets"),
        ("process.scheduler", {"policy": "SCHED_X"}, "process.scheduler"),
        ("process.apparmorProfile", "x", "AppArmor"),
        ("linux.mountLabel", "x", "SELinux"),
        ("linux.namespaces", [{"type": "mount"}, {"type": "uts"}], "without a user namespace: only root may"),
        ("linux.namespaces", [{"type": "mount"}, {"type": "uts"}, {"type": "user", "path": "/x"}], "cannot join"),
        ("linux.uidMappings", [{"containerID": 0}], "uidMappings"),
        ("ociVersion", "2.0.0", "ociVersion"),
        ("hooks", {"prestart": [{"path": "relative"}]}, "not an absolute path"),
        ("root.path", "nowhere", "not a directory"),
        ("process.args", [], "without a command"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_refused(runtime: Runtime, place: str, value: object, words: str) -> None:
    runtime.write(changed(place, value))
    done = runtime.box()
    assert done.returncode == ENGINE_ERROR and words in done.stderr, done.stderr
    assert "Traceback" not in done.stderr and runtime.status() == "absent"


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("linux.resources", {"devices": [{"allow": False, "access": "rwm"}], "memory": {}, "pids": {"limit": -1}}),
        ("linux.cgroupsPath", "/a/b"),
        ("linux.unknownProperty", {"x": 1}),
    ],
)
def test_what_asks_for_nothing_is_accepted(runtime: Runtime, place: str, value: object) -> None:
    runtime.write(changed(place, value))
    done = runtime.box()
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a b", "x" * 256, "ä"])
def test_refused_ids(runtime: Runtime, name: str) -> None:
    assert "as the ID of a container" in runtime.fails("state", "--", name)


def test_features(runtime: Runtime) -> None:
    found = json.loads(runtime.ok("features"))
    assert found["ociVersionMin"] == "1.0.0" and found["ociVersionMax"].startswith("1.")
    assert set(found["hooks"]) == set(HOOKS)
    assert {"bind", "rbind", "ro", "nosuid", "rprivate"} <= set(found["mountOptions"])
    linux = found["linux"]
    assert {"user", "mount", "pid", "network"} <= set(linux["namespaces"])
    assert "CAP_SYS_ADMIN" in linux["capabilities"]
    assert linux["seccomp"]["enabled"] and "SCMP_ACT_ERRNO" in linux["seccomp"]["actions"]
    assert linux["cgroup"]["v2"] and linux["apparmor"]["enabled"] and linux["selinux"]["enabled"]


def test_version_and_help(runtime: Runtime) -> None:
    name, spec = runtime.ok("--version").splitlines()
    assert name.startswith("rootless-oci version ") and spec.startswith("spec: 1.")
    assert runtime.ok("--help").startswith("Usage: rootless-oci [OPTIONS] COMMAND")
    for verb in oci_grammar.COMMANDS:
        assert runtime.ok(verb, "-h").startswith(f"Usage: rootless-oci {verb}")


def test_unknown_words_are_named(runtime: Runtime) -> None:
    assert "unknown flag: --criu" in runtime.fails("--criu", "criu", "list")
    assert "unknown flag: --no-subreaper" in runtime.fails("run", "--no-subreaper", "box")
    assert "unrecognized command 'checkpoint'" in runtime.fails("checkpoint", "box")


def test_log(runtime: Runtime) -> None:
    runtime.write(bundles.spec("nope"))
    flags = ("--log", str(runtime.log), "--log-format")
    for words in (("run", "-b", str(runtime.bundle), "box"), ("state", "box"), ("restore", "box")):
        runtime.run(*flags, "json", *words)
    runtime.run(*flags, "text", "state", "box")
    *lines, text = runtime.log.read_text().splitlines()
    entries = [json.loads(line) for line in lines]
    assert [set(entry) for entry in entries] == [{"level", "msg", "time"}] * 3
    assert {entry["level"] for entry in entries} == {"error"}
    assert "executable file `nope` not found in $PATH" in entries[0]["msg"]
    assert "does not exist" in entries[1]["msg"] and "restore" in entries[2]["msg"]
    assert text.startswith('time="') and "level=error" in text
    assert "unknown log format" in runtime.fails("--log-format", "xml", "list")


def test_debug_prints_the_plan(runtime: Runtime) -> None:
    runtime.write(bundles.spec("true"))
    done = runtime.run("--debug", "run", "-b", str(runtime.bundle), "box")
    assert done.returncode == 0 and "exec: ['true']" in done.stderr
