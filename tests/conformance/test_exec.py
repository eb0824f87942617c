"""``exec``: a further process in a running container, as runc's command line has it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.conformance.support import Box, namespace_id, until

KINDS = ("mnt", "pid", "net", "ipc", "uts", "user", "cgroup")


@pytest.fixture
def running(box: Box) -> Box:
    """A container that runs."""
    box.sleep()
    return box


def test_streams_and_exit_code(running: Box) -> None:
    done = running.exec("sh", "-c", "cat; echo error >&2; exit 7", stdin="given\n")
    assert done == (7, "given\n", "error\n")


def test_exit_by_signal(running: Box) -> None:
    assert running.exec("sh", "-c", "kill -TERM $$").code == 143


def test_namespaces(running: Box) -> None:
    script = "; ".join(f"readlink /proc/self/ns/{kind}" for kind in KINDS)
    assert running.executed("sh", "-c", script).split() == [namespace_id(running.pid, kind) for kind in KINDS]


def test_sees_the_processes(running: Box) -> None:
    assert running.executed("cat", "/proc/1/comm") == "sleep\n"


def test_root_file_system(running: Box) -> None:
    running.executed("sh", "-c", "echo x >/made")
    assert (running.root / "made").read_text() == "x\n"


@pytest.mark.parametrize(("program", "code"), [("nope", 127), ("/nope", 127), ("/etc/passwd", 126)])
def test_program_that_cannot_be_started(running: Box, program: str, code: int) -> None:
    done = running.exec(program)
    assert done.code in (code, 255, 1) and done.err.strip()
    assert running.status() == "running"


def test_configured_process_is_the_template(box: Box) -> None:
    box.process["user"] = {"uid": 1000, "gid": 29, "additionalGids": []}
    box.process["env"].append("A=1")
    box.process["cwd"] = "/tmp"
    box.sleep()
    assert box.executed("sh", "-c", "id -u; id -g; echo $A; pwd") == "1000\n29\n1\n/tmp\n"


def test_flags(running: Box) -> None:
    out = running.executed(
        "--user", "1000:29", "--cwd", "/usr", "--env", "A=1", "--env", "B=b c", "--",
        "sh", "-c", 'id -u; id -g; pwd; echo "$A $B"',
    )  # fmt: skip
    assert out == "1000\n29\n/usr\n1 b c\n"


def test_flags_end_with_the_id(running: Box) -> None:
    assert running.ok("exec", running.id, "echo", "--user", "-x") == "--user -x\n"


def test_capabilities(running: Box) -> None:
    show = ["grep", "CapEff", "/proc/self/status"]
    before = int(running.executed(*show).split()[1], 16)
    with_more = int(running.executed("--cap", "CAP_SYS_PTRACE", "--", *show).split()[1], 16)
    assert with_more & ~before == 1 << 19


def test_capabilities_are_the_containers(box: Box) -> None:
    box.process["capabilities"] = {kind: ["CAP_CHOWN"] for kind in ("bounding", "effective", "permitted")}
    box.sleep()
    out = box.executed("grep", "-E", "Cap(Prm|Eff|Bnd)", "/proc/self/status")
    assert {int(line.split()[1], 16) for line in out.splitlines()} == {1}


def test_no_new_privileges(box: Box) -> None:
    box.process["noNewPrivileges"] = False
    box.sleep()
    show = ["grep", "NoNewPrivs", "/proc/self/status"]
    assert box.executed(*show).split()[1] == "0"
    assert box.executed("--no-new-privs", "--", *show).split()[1] == "1"


def test_process_file(running: Box) -> None:
    process = {
        "args": ["sh", "-c", "id -u; id -g; id -G; pwd; echo $A; umask; ulimit -n; grep NoNewPrivs /proc/self/status"],
        "cwd": "/tmp",
        "env": ["PATH=/bin", "A=1"],
        "user": {"uid": 1000, "gid": 10, "umask": 0o027},
        "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}],
        "noNewPrivileges": True,
    }
    done = running.exec_process(process)
    assert done.code == 0, done
    assert done.out.split() == ["1000", "10", "10", "/tmp", "1", "0027", "100", "NoNewPrivs:", "1"]


def test_process_file_that_is_none(running: Box) -> None:
    path = running.home / "process.json"
    path.write_text("{")
    running.fails("exec", "--process", str(path), running.id)
    running.fails("exec", "--process", "/nowhere", running.id)


def test_detached(running: Box) -> None:
    running.ok("exec", "--detach", "--pid-file", str(running.home / "pid"), running.id, "sleep", "1234")
    pid = int((running.home / "pid").read_text())
    assert "1234" in Path(f"/proc/{pid}/cmdline").read_text()
    assert namespace_id(pid, "pid") == namespace_id(running.pid, "pid")
    os.kill(pid, 9)
    until(lambda: os.waitpid(pid, os.WNOHANG)[0] == pid)
    assert running.status() == "running"


def test_pid_file_in_the_foreground(running: Box) -> None:
    running.executed("--pid-file", str(running.home / "pid"), "--", "true")
    assert int((running.home / "pid").read_text()) > 1


def test_end_with_the_container(running: Box) -> None:
    started = running.begin("exec", running.id, "sh", "-c", "echo ready; exec sleep 1000")
    until(lambda: started.texts()[0] == "ready\n")
    running.stop()
    assert started.end().code != 0


def test_preserved_descriptors(running: Box) -> None:
    running.prefix = ["sh", "-c", f'exec "$@" 3>{running.home}/out', "sh"]
    running.executed("--preserve-fds", "1", "--", "sh", "-c", "echo inside >&3")
    assert (running.home / "out").read_text() == "inside\n"


def test_descriptors_of_the_caller_stay_outside(running: Box) -> None:
    with open("/etc/hostname") as leaked:
        done = running.call("exec", running.id, "ls", "/proc/self/fd", fds=[leaked.fileno()])
    assert set(done.out.split()) <= {"0", "1", "2", "3"}, done


def test_in_a_stopped_container(running: Box) -> None:
    running.stop()
    running.fails("exec", running.id, "true")


def test_without_a_program(running: Box) -> None:
    running.fails("exec", running.id)


def test_environment_does_not_leak(running: Box) -> None:
    running.environment["LEAKED"] = "1"
    assert "LEAKED" not in running.executed("env")


def test_several_at_once(running: Box) -> None:
    started = [running.begin("exec", running.id, "sh", "-c", f"sleep 0.2; exit {code}") for code in range(4)]
    assert [one.end().code for one in started] == list(range(4))


def test_working_directory_does_not_lead_out(running: Box) -> None:
    for fd in (3, 7, 8):
        process = {**running.process, "cwd": f"/proc/self/fd/{fd}", "args": ["sh", "-c", "ls -a ../../../../var/tmp"]}
        assert running.home.name not in json.dumps(running.exec_process(process))
