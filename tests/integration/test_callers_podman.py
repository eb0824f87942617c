"""podman calls the OCI runtime in the place of crun: as an ordinary user, as root, and in delegated control groups."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from tests.support import callers
from tests.support.callers import Podman
from tests.support.fixtures import require
from tests.support.places import AS_ROOT, OWN, ROOT
from tests.support.waiting import until

BARE = ("--network", "none")
IGNORES = "trap '' TERM; echo ready; while :; do sleep 0.1; done"
OBEYS = "trap 'echo got; exit 3' TERM; echo ready; while :; do sleep 0.1; done"

ordinary = pytest.mark.parametrize("podman", [OWN], indirect=True)
with_groups = pytest.mark.parametrize("podman", AS_ROOT, indirect=True)


@pytest.fixture(scope="module", params=[OWN, AS_ROOT[0]])
def podman(request: pytest.FixtureRequest) -> Iterator[Podman]:
    require("podman", "conmon", "busybox", *(["subuid", "newuidmap", "overlay"] if request.param == OWN else []))
    with callers.podman(request.param) as made:
        yield made


@pytest.fixture
def box(podman: Podman) -> Iterator[str]:
    """The name of a container, which is removed whatever became of it."""
    yield "one"
    podman.ok("rm", "--force", "--ignore", "--time", "0", "one")


def detached(podman: Podman, name: str, *command: str, flags: tuple[str, ...] = (), runtime: str = "") -> None:
    podman.ok("run", "--detach", "--name", name, *BARE, *flags, "box", *command, runtime=runtime)


def logged(podman: Podman, name: str, text: str) -> None:
    """Wait until a container has written a line."""
    until(lambda: text in podman.ok("logs", name).splitlines())


def test_the_runtime_is_known(podman: Podman) -> None:
    found = json.loads(podman.ok("info", "--format", "json"))["host"]["ociRuntime"]
    assert found["path"] == str(podman.runtime) and found["version"].startswith("rootless-oci version ")


def test_run(podman: Podman) -> None:
    done = podman.run("run", "--rm", "-i", *BARE, "box", "sh", "-c", "cat; echo error >&2; exit 7", stdin="given\n")
    assert (done.returncode, done.stdout, done.stderr) == (7, "given\n", "error\n")
    assert podman.ok("ps", "--all", "--quiet") == ""


def test_terminal(podman: Podman) -> None:
    program = "stty size; trap 'stty size; exit 6' WINCH; echo ready; while :; do sleep 0.1; done"
    terminal = podman.terminal("run", "--rm", "-it", *BARE, "box", "sh", "-c", program)
    terminal.until("33 77\r\nready")
    terminal.resize(20, 50)
    terminal.until("20 50")
    assert terminal.end() == 6


def test_leave_and_attach(podman: Podman, box: str) -> None:
    terminal = podman.terminal("run", "-it", "--name", box, *BARE, "box", "sh")
    terminal.type("echo is $((6*7))\n")
    terminal.until("is 42")
    for key in ("\x10", "\x11"):  # podman's keys to leave, one in each of its reads
        terminal.type(key)
        time.sleep(0.2)
    assert terminal.end() == 0
    assert podman.status(box) == "running 0"
    again = podman.terminal("attach", box)
    again.type("echo is $((7*8)); exit 4\n")
    again.until("is 56")
    again.end()
    until(lambda: podman.status(box) == "exited 4")


def test_life(podman: Podman, box: str) -> None:
    detached(podman, box, "sh", "-c", OBEYS)
    logged(podman, box, "ready")
    assert podman.status(box) == "running 0"
    assert "sh -c trap" in podman.ok("top", box, "args")
    podman.ok("stop", box)
    assert podman.status(box) == "exited 3"
    assert podman.ok("wait", box) == "3"
    assert podman.ok("logs", box).splitlines() == ["ready", "got"]
    podman.ok("start", box)
    assert podman.status(box) == "running 0"
    podman.ok("restart", "--time", "0", box)
    assert podman.status(box) == "running 0"
    podman.ok("kill", box)
    assert podman.ok("wait", box) == "137"
    podman.ok("rm", box)
    assert podman.run("inspect", box).returncode == 125


def test_stop_that_is_ignored(podman: Podman, box: str) -> None:
    detached(podman, box, "sh", "-c", IGNORES)
    logged(podman, box, "ready")
    podman.ok("kill", "--signal", "TERM", box)
    assert podman.status(box) == "running 0"
    podman.ok("stop", "--time", "1", box)
    assert podman.status(box) == "exited 137"


def test_removed_while_it_runs(podman: Podman, box: str) -> None:
    detached(podman, box, "sleep", "1000")
    assert podman.run("rm", box).returncode == 2
    podman.ok("rm", "--force", "--time", "0", box)
    assert podman.ok("ps", "--all", "--quiet") == ""


def test_created_and_never_started(podman: Podman, box: str) -> None:
    podman.ok("create", "--name", box, *BARE, "box", "true")
    podman.ok("init", box)
    assert podman.status(box) == "initialized 0"
    podman.ok("rm", "--force", box)


def test_exec(podman: Podman, box: str) -> None:
    detached(podman, box, "sleep", "1000", flags=("--env", "OWN=1"))
    script = "cat; echo error >&2; pwd; id -u; echo $OWN $MORE; exit 9"
    flags = ("-i", "--user", "user", "--workdir", "/tmp", "--env", "MORE=2")
    done = podman.run("exec", *flags, box, "sh", "-c", script, stdin="given\n")
    assert (done.returncode, done.stdout, done.stderr) == (9, "given\n/tmp\n1000\n1 2\n", "error\n")
    terminal = podman.terminal("exec", "-it", box, "sh", "-c", "stty size; read x; echo got $x; exit 5")
    terminal.until("33 77")
    terminal.type("it\n")
    terminal.until("got it")
    assert terminal.end() == 5
    podman.ok("exec", "--detach", box, "sh", "-c", "echo done >/tmp/file")
    until(lambda: podman.run("exec", box, "cat", "/tmp/file").stdout == "done\n")


@pytest.mark.parametrize("name", ["rootless-oci", "runc"])
def test_what_cannot_be_executed(podman: Podman, box: str, name: str) -> None:
    """podman reads the reason from the runtime's log if it knows its name, else from standard error."""
    lead = f"{name}: " if name in callers.NAMES else f"{name}: Error: "
    reasons = {"/nope": (127, "executable file `/nope` not found"), "/etc/passwd": (126, "cannot execute")}
    detached(podman, box, "sleep", "1000", runtime=name)
    for program, (code, reason) in reasons.items():
        done = podman.run("run", "--rm", *BARE, "box", program, runtime=name)
        assert done.returncode == code and lead + reason in done.stderr, done.stderr
        done = podman.run("exec", box, program)
        assert done.returncode == code and lead + reason in done.stderr, done.stderr
    assert podman.ok("ps", "--all", "--format", "{{.Names}}") == box


def test_settings(podman: Podman) -> None:
    """What podman puts into a config.json for these flags, as the container sees it."""
    volume = podman.place.directory("volume")
    flags = "--read-only --tmpfs /scratch --hostname given --user 1000:1000 --group-add 2000 --workdir /srv"
    flags += " --cap-drop all --cap-add net_raw --security-opt no-new-privileges --ulimit nofile=123:123"
    flags += " --sysctl net.ipv4.ip_default_ttl=33 --oom-score-adj 500 --umask 0027 --shm-size 1m"
    script = (
        "hostname; id; pwd; grep -E 'CapEff|NoNewPrivs|Seccomp:' /proc/self/status; ulimit -n; ulimit -Hn; umask;"
        "cat /proc/sys/net/ipv4/ip_default_ttl /proc/self/oom_score_adj; touch /x 2>&1; touch /scratch/x;"
        "df -k /dev/shm | tail -1 | awk '{print $2}'; cat /volume/file; wc -c </proc/keys"
    )
    (volume / "file").write_text("shared\n")
    (volume / "file").chmod(0o644)
    volume.chmod(0o755)
    flags += f" --volume {volume}:/volume:ro"
    done = podman.run("run", "--rm", *BARE, *flags.split(), "box", "sh", "-c", script)
    assert done.stdout.splitlines() == [
        "given", "uid=1000(user) gid=1000(user) groups=1000(user),2000(extra)", "/srv",
        "CapEff:\t0000000000002000", "NoNewPrivs:\t1", "Seccomp:\t2", "123", "123", "0027", "33", "500",
        "touch: /x: Read-only file system", "1024", "shared", "0",
    ], done.stderr  # fmt: skip


def test_joined_namespaces(podman: Podman, box: str) -> None:
    detached(podman, box, "sleep", "1000", flags=("--hostname", "first", "--ipc", "shareable"))
    joined = [flag for kind in ("pid", "network", "ipc", "uts") for flag in (f"--{kind}", f"container:{box}")]
    script = "hostname; tr '\\0' '\\n' </proc/1/cmdline; cd /proc/self/ns; "
    script += "for kind in pid net ipc uts mnt; do readlink $kind; done"
    found = podman.ok("run", "--rm", *joined, "box", "sh", "-c", script).splitlines()
    first = podman.ok("exec", box, "sh", "-c", script).splitlines()
    assert found[:3] == ["first", "sleep", "1000"]
    assert len(found) == 8 and found[:-1] == first[:-1] and found[-1] != first[-1]


@pytest.mark.parametrize("flags", [("--privileged",), ("--pid", "host", "--uts", "host")])
def test_little_isolation(podman: Podman, flags: tuple[str, ...]) -> None:
    assert podman.ok("run", "--rm", *BARE, *flags, "box", "id", "-u") == "0"


def test_ids_of_ones_own(podman: Podman) -> None:
    if podman.place.kind == ROOT:
        flags, uid = ["--uidmap", "0:100000:2000", "--gidmap", "0:100000:2000"], "0"
    else:
        flags = ["--userns", "keep-id"]
        uid = podman.place.run("id", "-u").stdout.strip()
    script = "id -u; cat /proc/self/uid_map | wc -l"
    found = podman.ok("run", "--rm", *BARE, *flags, "box", "sh", "-c", script).split()
    assert found[0] == uid and int(found[1]) == (1 if podman.place.kind == ROOT else 3)


def test_preserved_descriptor(podman: Podman) -> None:
    words = podman.words("run", "--rm", "--preserve-fds", "1", *BARE, "box", "cat", "/proc/self/fd/3")
    given = podman.place.write("given", "from outside\n")
    assert podman.place.ok("sh", "-c", f'exec "$@" 3<{given}', "sh", *words) == "from outside\n"


def test_build(podman: Podman) -> None:
    """buildah makes a container for each RUN, by calls of its own."""
    context = podman.place.directory("context")
    (context / "file").write_text("copied\n")
    lines = ["FROM localhost/box", "RUN echo built >/built && id -u", "COPY file /file", "RUN cat /built /file"]
    (context / "Containerfile").write_text("\n".join([*lines, "USER user", "RUN id -u; cat /proc/1/cmdline"]))
    runtime, log = callers.noting(podman.place, podman.runtime)
    flags = ("--isolation", "oci", "--no-cache", *BARE, "--tag", "built")
    words = podman.ok("build", *flags, context, runtime=runtime).splitlines()
    assert words.count("0") == 1 and "built" in words and "copied" in words and "1000" in words
    verbs = callers.verbs(log)
    assert verbs.count("create") == verbs.count("start") == 3 and {"state", "delete"} < set(verbs)
    assert podman.ok("run", "--rm", *BARE, "built", "cat", "/built", "/file") == "built\ncopied"
    (context / "Containerfile").write_text("FROM localhost/box\nRUN exit 3\n")
    done = podman.run("build", *flags, context)
    assert done.returncode == 3 and "exit status 3" in done.stderr, done.stderr


@ordinary
@pytest.mark.needs("slirp4netns", "tun")
def test_network_of_an_ordinary_user(podman: Podman) -> None:
    assert "inet 10.0.2.100/24" in podman.ok("run", "--rm", "box", "ip", "addr", "show", "tap0")


@ordinary
def test_without_control_groups(podman: Podman) -> None:
    """podman lets a runtime do that only if its name says that it can."""
    assert podman.ok("run", "--rm", *BARE, "--cgroups", "disabled", "box", "id", "-u", runtime="crun") == "0"


@with_groups
def test_pause(podman: Podman, box: str) -> None:
    detached(podman, box, "sh", "-c", "while :; do echo tick; sleep 0.05; done")
    logged(podman, box, "tick")
    podman.ok("pause", box)
    assert podman.status(box) == "paused 0"
    before = podman.ok("logs", box)
    assert podman.ok("logs", box) == before
    podman.ok("unpause", box)
    assert podman.status(box) == "running 0"
    until(lambda: podman.ok("logs", box) != before)


@with_groups
def test_update(podman: Podman, box: str) -> None:
    """A limit is set where its controller is, else refused by its name."""
    detached(podman, box, "sleep", "1000")
    done = podman.run("update", "--cpus", "0.5", box)
    if "cpu" in podman.place.ok("cat", "/sys/fs/cgroup/cgroup.controllers").split():
        assert done.returncode == 0, done.stderr
        assert podman.ok("exec", box, "cat", "/sys/fs/cgroup/cpu.max") == "50000 100000"
    else:
        assert done.returncode == 125 and "cannot set cpu.max: the cpu controller" in done.stderr


@with_groups
def test_group_of_its_own(podman: Podman, box: str) -> None:
    detached(podman, box, "sleep", "1000")
    pid = podman.ok("inspect", "--format", "{{.State.Pid}}", box)
    group = podman.place.ok("sh", "-c", f"grep ^0:: /proc/{pid}/cgroup").strip().removeprefix("0::")
    assert podman.ok("inspect", "--format", "{{.Id}}", box) in group
    podman.ok("rm", "--force", "--time", "0", box)
    assert podman.place.run("test", "-e", f"/sys/fs/cgroup{group}").returncode == 1
