"""Nothing is left running or lying about, whoever is killed and whenever; the terminal; the sealed child."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from rootless import idmaps, paths
from rootless.errors import RootlessError
from rootless.runtime import launch, plan, state
from rootless.runtime.bundle import directory_root
from rootless.runtime.delete import delete_tree
from tests.support import bundles
from tests.support.fixtures import require

PATIENCE = 10.0
pytestmark = pytest.mark.usefixtures("no_leftovers")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    require("userns", "busybox")
    return bundles.make_root(tmp_path / "rootfs")


def compiled(given: dict[str, Any], root: Path | dict[str, Any], **extras: Any) -> Any:
    mount: Any = root if isinstance(root, dict) else directory_root(str(root))
    document: Any = given
    options: Any = extras
    return plan.compile(document, mount, idmaps.default_map(), options)


def processes(mark: str) -> list[int]:
    """The living processes with ``mark`` in their command line."""
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            line = Path(f"/proc/{name}/cmdline").read_bytes()
            status = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if mark.encode() in line and status not in "ZX" and int(name) != os.getpid():
            found.append(int(name))
    return found


def gone(mark: str) -> bool:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if not processes(mark):
            return True
        time.sleep(0.02)
    return False


def test_handle(root: Path, tmp_path: Path) -> None:
    require("subuid", "newuidmap")
    process = launch.create(compiled(bundles.spec("sh", "-c", "sleep 60"), root, user="0"))
    record = state.of_process("id", process.pid)
    state.write(str(tmp_path), record)
    assert state.status(state.read(str(tmp_path))) == "created"
    process.start()
    record["started"] = True
    assert state.status(record) == "running"
    assert state.status(record | {"start_time": 1}) == "exited"
    assert state.status(record | {"boot_id": "another"}) == "exited"
    assert process.resolved_user.uid == 0 and process.resolved_user.groups == [0, 10]
    assert process.kill(signal.SIGKILL)
    assert process.wait() == 137 == process.wait()
    assert state.status(record) == "exited"


def test_created_but_never_started(root: Path) -> None:
    process = launch.create(compiled(bundles.spec("sh", "-c", "exit 9"), root))
    pid = process.pid
    assert process.close() == 137
    assert not Path(f"/proc/{pid}").exists() or state.start_time(pid) is None


def test_failure_in_the_callback(root: Path) -> None:
    pids = []

    def attach(pid: int) -> None:
        pids.append(pid)
        raise RootlessError("cannot attach")

    with pytest.raises(RootlessError, match="cannot attach"):
        launch.create(compiled(bundles.spec("true"), root), on_created=attach)
    assert pids and state.start_time(pids[0]) is None


def test_namespaces_exist_in_the_callback(root: Path) -> None:
    seen = []
    process = launch.create(
        compiled(bundles.spec("readlink", "/proc/self/ns/net"), root),
        on_created=lambda pid: seen.append(os.readlink(f"/proc/{pid}/ns/net")),
    )
    process.start()
    assert process.wait() == 0
    assert seen[0] != os.readlink("/proc/self/ns/net")


@pytest.mark.parametrize("init", [None, "reaper"])
def test_caller_is_killed(root: Path, tmp_path: Path, init: str | None) -> None:
    """The container ends with its caller, and the shim still cleans up."""
    require("overlay")
    mark = f"9{os.getpid()}{len(str(init))}"
    mount = bundles.overlay(tmp_path / "container", root)
    script = f"touch /x; echo up; sh -c 'sleep {mark}' & sleep {mark}"
    command = bundles.job(
        tmp_path, bundles.spec("sh", "-c", script), mount, init_binary=init, cleanup=[str(tmp_path / "container")]
    )
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as caller:
        assert caller.stdout
        assert caller.stdout.readline() == "up\n"
        assert processes(mark)
        caller.kill()
        assert gone(mark)
        assert caller.stdout.read() == ""
    deadline = time.monotonic() + PATIENCE
    while (tmp_path / "container").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not (tmp_path / "container").exists()


def test_shim_is_killed(root: Path) -> None:
    mark = f"8{os.getpid()}"
    process = launch.create(compiled(bundles.spec("sh", "-c", f"sh -c 'sleep {mark}' & sleep {mark}"), root))
    process.start()
    os.kill(process.shim_pid, signal.SIGKILL)
    assert process.wait() == 137
    assert gone(mark)


@pytest.mark.slow
def test_caller_is_killed_at_any_moment(root: Path, tmp_path: Path) -> None:
    """Killed every half millisecond of a start: no process, no mount, no half-made directory of ours stays."""
    mark = f"7{os.getpid()}"
    before = Path("/proc/self/mountinfo").read_text()
    command = bundles.job(tmp_path, bundles.spec("sleep", mark), root)
    for step in range(120):
        caller = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(0.005 + step * 0.0005)
        caller.kill()
        caller.wait()
    assert gone(mark) and gone(str(tmp_path / "job.json"))
    assert Path("/proc/self/mountinfo").read_text() == before


def test_fuse_helper_ends_with_the_container(root: Path, tmp_path: Path) -> None:
    require("fuse-overlayfs", "fuse")
    mount = bundles.overlay(tmp_path / "container", root, kind="fuse-overlayfs")
    process = launch.create(compiled(bundles.spec("true"), mount, fuse_overlayfs=paths.helper("fuse-overlayfs")))
    assert processes(str(tmp_path / "container" / "upper"))
    process.start()
    assert process.wait() == 0
    assert not processes(str(tmp_path / "container" / "upper"))


@pytest.mark.parametrize("user", ["0", "1000"])
def test_terminal(root: Path, user: str) -> None:
    if user != "0":
        require("subuid", "newuidmap")
    script = "tty; stty size; test -c /dev/console && echo hi >/dev/tty; ls -l /dev/pts/0; read x; echo got $x"
    given = bundles.spec("sh", "-c", script)
    given["process"]["terminal"] = True
    given["process"]["consoleSize"] = {"height": 33, "width": 77}
    process = launch.create(compiled(given, root, user=user))
    process.start()
    os.write(process.console_fd, b"word\n")
    output = b""
    while True:
        try:
            part = os.read(process.console_fd, 4096)
        except OSError:
            break
        output += part
    assert process.wait() == 0
    os.close(process.console_fd)
    lines = output.decode().replace("\r", "").splitlines()
    assert "/dev/pts/0" in lines and "33 77" in lines and "hi" in lines and "got word" in lines
    assert f" {'root' if user == '0' else 'user'} " in next(line for line in lines if line.startswith("crw"))


def test_terminal_with_a_hostile_dev(root: Path, tmp_path: Path) -> None:
    """CVE-2025-52565: links in the image's /dev decide nothing."""
    victim = tmp_path / "victim"
    victim.write_text("victim")
    (root / "dev" / "console").symlink_to(victim)
    (root / "dev" / "pts").symlink_to(tmp_path)
    given = bundles.spec("true")
    given["process"]["terminal"] = True
    process = launch.create(compiled(given, root))
    process.start()
    assert process.wait() == 0
    os.close(process.console_fd)
    assert victim.read_text() == "victim"


def test_job_control_belongs_to_the_program(root: Path) -> None:
    """With ``--init`` too the program leads the session of its terminal."""
    given = bundles.spec("sh", "-c", "cat /proc/self/stat | cut -d ' ' -f 6,7; echo $$")
    given["process"]["terminal"] = True
    for init in (None, "reaper"):
        process = launch.create(compiled(given, root, init_binary=init))
        process.start()
        assert process.wait() == 0
        session, terminal, pid = os.read(process.console_fd, 4096).split()
        assert session == pid and terminal != b"0"
        os.close(process.console_fd)


def test_joined_namespaces(root: Path, tmp_path: Path) -> None:
    """A second container in the user, network, IPC, UTS and pid namespaces of the first."""
    first = launch.create(compiled(bundles.spec("sleep", "60"), root))
    first.start()
    kinds = {"user": "user", "network": "net", "ipc": "ipc", "uts": "uts", "pid": "pid"}
    links = [os.readlink(f"/proc/{first.pid}/ns/{name}") for name in kinds.values()]
    script = "for n in user net ipc uts pid; do readlink /proc/self/ns/$n; done >/out; ps | grep -c 'sleep 60' >>/out"
    given = bundles.spec("sh", "-c", script)
    given["linux"]["namespaces"] = [
        {"type": "mount"},
        *({"type": kind, "path": f"/proc/{first.pid}/ns/{name}"} for kind, name in kinds.items()),
    ]
    given["mounts"] = [m for m in given["mounts"] if m["type"] not in ("cgroup", "mqueue")]
    second = launch.create(compiled(given, root))
    second.start()
    assert second.wait() == 0
    first.close()
    assert (root / "out").read_text().split()[:5] == links


def test_namespace_that_cannot_be_joined(root: Path) -> None:
    given = bundles.spec("true")
    given["linux"]["namespaces"][3] = {"type": "network", "path": "/proc/self/ns/net"}
    with pytest.raises(RootlessError, match="cannot join the namespace /proc/self/ns/net: Operation not permitted"):
        launch.create(compiled(given, root))


def test_delete_tree(tmp_path: Path, root: Path) -> None:
    require("overlay", "subuid", "newuidmap")
    keep = tmp_path / "keep"
    keep.mkdir()
    (keep / "file").write_text("kept")
    mount = bundles.overlay(tmp_path / "container", root)
    script = f"mkdir -p /a/b; ln -s {keep} /a/link; touch /a/b/c; chown -R 5:5 /a; chmod 0 /a/b /a"
    process = launch.create(compiled(bundles.spec("sh", "-c", script), mount))
    process.start()
    assert process.wait() == 0
    delete_tree(str(tmp_path / "container"))
    delete_tree(str(tmp_path / "container"))
    assert not (tmp_path / "container").exists() and (keep / "file").read_text() == "kept"


def test_delete_tree_of_any_depth(tmp_path: Path) -> None:
    top = tmp_path / "deep"
    top.mkdir()
    fd = os.open(top, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d", dir_fd=fd)
        below = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)
    delete_tree(str(top))
    assert not top.exists()


@pytest.mark.as_root
def test_nothing_of_the_image_is_opened(tmp_path_factory: pytest.TempPathFactory) -> None:
    """CVE-2019-14271: after the root was changed, init opens nothing before it executes the program."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("needs strace: it is not installed")
    require("busybox")
    directory = tmp_path_factory.mktemp("sealed")
    root = bundles.make_root(directory / "rootfs")
    for path in sys.path:
        if path.startswith("/"):
            poisoned = root / path[1:]
            poisoned.mkdir(parents=True, exist_ok=True)
            for name in ("sitecustomize.py", "encodings.py", "traceback.py", "struct.py", "errno.py"):
                (poisoned / name).write_text("open('/marker', 'w')\n")
    (root / "etc" / "ld.so.preload").write_text("/libnss_files.so.2\n")
    (root / "etc" / "nsswitch.conf").write_text("passwd: evil\n")
    trace = directory / "trace"
    for arguments, extras in (
        (["true"], {}),
        (["nope"], {}),
        (["true"], {"user": "user", "init_binary": "reaper"}),
    ):
        command = bundles.job(directory, bundles.spec(*arguments), root, **extras)
        traced = subprocess.run([strace, "-f", "-o", str(trace), *command], check=False, capture_output=True)
        assert traced.returncode in (0, 127), traced.stderr
        lines = trace.read_text().splitlines()
        pivot = next(index for index, line in enumerate(lines) if "pivot_root(" in line)
        init = lines[pivot].split()[0]
        after = []
        for line in lines[pivot + 1 :]:
            if line.startswith(init):
                if "execve(" in line and "= 0" in line:
                    break
                after.append(line)
        opened = [line for line in after if re.search(r"\b(open|openat|openat2|mmap)\(", line) and '"' in line]
        assert opened == []
        assert not (root / "marker").exists()
