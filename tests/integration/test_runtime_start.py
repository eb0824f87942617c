"""A container of the runtime: what its program gets, and how it ends."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from tests.support import bundles
from tests.support.fixtures import require

Run = Callable[..., "CompletedProcess[str]"]
pytestmark = pytest.mark.usefixtures("no_leftovers")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    require("userns", "busybox")
    return bundles.make_root(tmp_path_factory.mktemp("bundle") / "rootfs")


@pytest.fixture
def run(tmp_path: Path, root: Path) -> Run:
    """Start a container from a Spec, or from the words of a shell script."""

    def start(given: dict[str, Any] | str, **options: Any) -> CompletedProcess[str]:
        if isinstance(given, str):
            given = bundles.spec("sh", "-c", given)
        return bundles.run(tmp_path, given, root, **options)

    return start


def ok(done: CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize("code", [0, 1, 3, 125, 255])
def test_exit_code(run: Run, code: int) -> None:
    assert run(f"exit {code}").returncode == code


@pytest.mark.parametrize("number", [1, 2, 9, 15, 34])
def test_death_by_signal(run: Run, number: int) -> None:
    done = run(f"kill -{number} $$; exit 5", init_binary="reaper")
    assert done.returncode == 128 + number, done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nope"], 127, "executable file `nope` not found in $PATH: No such file or directory"),
        (["/bin/nope"], 127, "executable file `/bin/nope` not found: No such file or directory"),
        (["/etc/passwd"], 126, "cannot execute `/etc/passwd`: Permission denied"),
        (["/etc"], 126, "cannot execute `/etc`: Permission denied"),
        (["/etc/passwd/x"], 127, "executable file `/etc/passwd/x` not found: No such file or directory"),
        (["text"], 126, "cannot execute `text`: Exec format error"),
        (["script"], 127, "cannot execute `script`: No such file or directory"),
        (["\udce9"], 127, "executable file `\\udce9` not found in $PATH"),
        ([""], 127, "the command is empty"),
    ],
)
def test_program_that_cannot_run(run: Run, root: Path, arguments: list[str], code: int, message: str) -> None:
    for name, text in (("text", "no program\n"), ("script", "#!/no/such/interpreter\n")):
        path = root / "usr" / "bin" / name
        path.write_text(text)
        path.chmod(0o755)
    done = run(bundles.spec(*arguments))
    assert done.returncode == code
    assert message in done.stderr


def test_relative_program(run: Run, root: Path) -> None:
    given = bundles.spec("./true")
    given["process"]["cwd"] = "/bin"
    assert run(given).returncode == 0


def test_streams_are_the_callers(run: Run) -> None:
    done = run("cat; echo err >&2", stdin="in\n")
    assert (done.returncode, done.stdout, done.stderr) == (0, "in\n", "err\n")


def test_namespaces_are_its_own(run: Run) -> None:
    out = ok(run("for n in user mnt pid net ipc uts cgroup; do readlink /proc/self/ns/$n; done; echo $$; hostname"))
    *links, pid, name = out.split()
    own = [os.readlink(f"/proc/self/ns/{n}") for n in ("user", "mnt", "pid", "net", "ipc", "uts", "cgroup")]
    assert not set(links) & set(own)
    assert (pid, name) == ("1", "box")


def test_host_namespaces_stay(run: Run) -> None:
    given = bundles.spec("sh", "-c", "for n in net ipc uts; do readlink /proc/self/ns/$n; done")
    given["linux"]["namespaces"] = [{"type": name} for name in ("user", "mount", "pid", "cgroup")]
    del given["hostname"]
    given["mounts"] = [m for m in given["mounts"] if m["type"] not in ("sysfs", "mqueue")]
    assert ok(run(given)).split() == [os.readlink(f"/proc/self/ns/{n}") for n in ("net", "ipc", "uts")]


def test_sysfs_without_own_network_is_the_hosts_and_read_only(run: Run) -> None:
    given = bundles.spec("sh", "-c", "test -d /sys/kernel && grep ' /sys sysfs ro' /proc/mounts")
    given["linux"]["namespaces"] = [{"type": name} for name in ("user", "mount", "pid")]
    del given["hostname"]
    given["mounts"] = [m for m in given["mounts"] if m["type"] not in ("mqueue", "cgroup")]
    ok(run(given))


def test_loopback_is_up(run: Run) -> None:
    assert "inet 127.0.0.1/8" in ok(run("ip -4 addr show lo"))


def test_devices(run: Run) -> None:
    out = ok(run("echo x >/dev/null && head -c 4 /dev/zero | wc -c; ls /dev; readlink /dev/ptmx; test -c /dev/tty"))
    count, *names, ptmx = out.split()
    assert count == "4"
    assert set(names) >= set("fd full null ptmx pts random shm stderr stdin stdout tty urandom zero".split())
    assert ptmx == "pts/ptmx"


def test_environment_is_the_specs(run: Run) -> None:
    given = bundles.spec("env")
    given["process"]["env"] += ["A=1=2", "NOVALUE", "=x", "A2=", "S=\udcff"]
    lines = run(given).stdout.split("\n")
    assert set(filter(None, lines)) >= {"A=1=2", "A2=", "HOME=/root", "TERM=dumb"}
    assert not [line for line in lines if line.startswith(("NOVALUE", "=", "PYTHON", "XDG", "USER"))]


def test_mount_options(run: Run, tmp_path: Path) -> None:
    given = bundles.spec("sh", "-c", "grep -E ' /(a|b|c) ' /proc/mounts | sort -k 2; stat -c %a /a")
    (tmp_path / "source").mkdir()
    given["mounts"] += [
        bundles.mount("/a", "tmpfs", "ro", "nosuid", "size=1m", "mode=711", "noatime"),
        bundles.bind(tmp_path / "source", "/b", "ro", "noexec"),
        bundles.bind(tmp_path / "source", "/c", "rw", "nodev", "nosuid"),
    ]
    a, b, c, mode = ok(run(given)).splitlines()
    assert {"ro", "nosuid", "noatime", "size=1024k", "mode=711"} <= set(a.split()[3].split(","))
    assert {"ro", "noexec"} <= set(b.split()[3].split(","))
    assert {"rw", "nodev", "nosuid"} <= set(c.split()[3].split(","))
    assert mode == "711"


def test_bind_of_a_file_makes_its_place(run: Run, root: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("content")
    given = bundles.spec("cat", "/new/dir/file")
    given["mounts"].append(bundles.bind(tmp_path / "file", "/new/dir/file"))
    assert ok(run(given)) == "content"


def test_missing_source_is_named(run: Run, tmp_path: Path) -> None:
    given = bundles.spec("true")
    given["mounts"].append(bundles.bind(tmp_path / "missing", "/x"))
    done = run(given)
    assert done.returncode == 125
    assert done.stderr == f"Error: cannot bind {tmp_path}/missing: No such file or directory\n"


def test_tmpfs_with_the_images_content(run: Run, root: Path) -> None:
    (root / "data").mkdir()
    (root / "data" / "file").write_text("kept")
    given = bundles.spec("sh", "-c", "cat /data/file; echo new >/data/file")
    given["mounts"].append(bundles.mount("/data", "tmpfs", "tmpcopyup"))
    assert ok(run(given)) == "kept"
    assert (root / "data" / "file").read_text() == "kept"


def test_limits(run: Run) -> None:
    given = bundles.spec("sh", "-c", "ulimit -n; ulimit -Hn; ulimit -c; umask")
    given["process"]["user"]["umask"] = 0o27
    given["process"]["rlimits"] = [
        {"type": "RLIMIT_NOFILE", "soft": 100, "hard": 1 << 40, "explicit": False},
        {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
    ]
    import resource

    soft, hard, core, umask = ok(run(given)).split()
    assert (soft, hard, core) == ("100", str(resource.getrlimit(resource.RLIMIT_NOFILE)[1]), "0")
    assert int(umask, 8) == 0o27


def test_explicit_limit_above_the_callers_is_refused(run: Run) -> None:
    given = bundles.spec("true")
    given["process"]["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 1, "hard": 1 << 40, "explicit": True}]
    done = run(given)
    assert done.returncode == 125
    assert "cannot set the limit NOFILE" in done.stderr


def test_sysctls(run: Run) -> None:
    names = ("net/ipv4/ip_forward", "kernel/shmmni", "kernel/domainname")
    given = bundles.spec("cat", *(f"/proc/sys/{name}" for name in names))
    given["linux"]["sysctl"] = {"net.ipv4.ip_forward": "1", "kernel/shmmni": "77", "kernel.domainname": "lan"}
    assert ok(run(given)).split() == ["1", "77", "lan"]


def test_out_of_memory_score(run: Run) -> None:
    given = bundles.spec("cat", "/proc/self/oom_score_adj")
    given["process"]["oomScoreAdj"] = 500
    assert ok(run(given)).strip() == "500"


def test_personality(run: Run) -> None:
    given = bundles.spec("uname", "-m")
    given["linux"]["personality"] = {"domain": "LINUX32"}
    assert ok(run(given)).strip() != os.uname().machine


def test_preserved_descriptors_and_no_others(run: Run, tmp_path: Path) -> None:
    held = [os.open(str(tmp_path), os.O_RDONLY) for _ in range(40)]
    reader, writer = os.pipe()
    for wanted in (3, 4):
        os.dup2(writer, wanted) if wanted not in (reader, writer) else None
    done = run("ls /proc/self/fd | tr '\\n' ' '; echo kept >&3", preserve_fds=1, pass_fds=(3, 4))
    for fd in (*held, reader, writer):
        try:
            os.close(fd)
        except OSError:
            continue
    assert done.stdout.split()[:4] == ["0", "1", "2", "3"]
    assert len(done.stdout.split()) <= 5  # the directory that ls reads


def test_init_reaps_and_forwards(run: Run) -> None:
    out = ok(run("(sleep 0.1 &) ; sleep 0.3; ps -o pid,args; exit 0", init_binary="reaper"))
    assert " sleep 0.1" not in out
    assert len(out.strip().splitlines()) == 4  # the heading, init, sh, ps


def test_single_id_map(run: Run) -> None:
    out = ok(run("id -u; id -G; cat /proc/self/setgroups; cat /proc/self/uid_map", idmap="single"))
    uid, groups, setgroups, *row = out.split()
    assert (uid, groups.split()[0], setgroups, row) == ("0", "0", "deny", ["0", str(os.getuid()), "1"])


def test_keep_id(run: Run) -> None:
    require("subuid", "newuidmap")
    given = bundles.spec("id", "-u")
    given["process"]["user"] = {"uid": os.getuid(), "gid": os.getgid()}
    assert ok(run(given, idmap="keep-id")).strip() == str(os.getuid())


def test_hooks(run: Run, tmp_path: Path) -> None:
    script = tmp_path / "hook"
    script.write_text(f"#!/bin/sh\ncat >/dev/null\necho $1 >>{tmp_path}/log\nexit $2\n")
    script.chmod(0o755)
    given = bundles.spec("cat", "/hook-in-container")
    given["hooks"] = {
        "createContainer": [{"path": str(script), "args": ["hook", "createContainer", "0"]}],
        "startContainer": [{"path": "/bin/sh", "args": ["sh", "-c", "echo ran >/hook-in-container"]}],
    }
    assert ok(run(given)) == "ran\n"
    assert (tmp_path / "log").read_text() == "createContainer\n"
    given["hooks"] = {"createContainer": [{"path": str(script), "args": ["hook", "createContainer", "3"]}]}
    done = run(given)
    assert done.returncode == 125
    assert "hook" in done.stderr and "exit code 3" in done.stderr
