"""Bundles, and the command line of the runtime under test: the only way by which these tests reach a container.

``ROOTLESS_TEST_OCI_RUNTIME`` names the program; without it the tests ask this project's own ``rootless-oci``. The
tests' process is the subreaper of what the runtime leaves behind, as conmon and containerd's shim are, so that it
learns exit codes and no orphan outlives its test.
"""

from __future__ import annotations

import ctypes
import functools
import json
import os
import re
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.support import bundles
from tests.support.capabilities import subid_range
from tests.support.cli import entry_point
from tests.support.images import remove_tree

VARIABLE = "ROOTLESS_TEST_OCI_RUNTIME"
PATIENCE = float(os.environ.get("ROOTLESS_TEST_PATIENCE", "15"))
"""Seconds that anything may take."""
RANGE = 65536
ROOT_HOST_ID = 100000
"""The host's id for 0 of a user namespace that root makes."""
PR_SET_CHILD_SUBREAPER = 36
HIDDEN = ("nosuid", "noexec", "nodev")
IS_ROOT = os.getuid() == 0


class Done(NamedTuple):
    """A command that ended."""

    code: int
    out: str
    err: str


class Started(NamedTuple):
    """A command that may still run; its streams go to unlinked files, which no container can block."""

    process: subprocess.Popen[bytes]
    files: tuple[Any, Any]
    words: tuple[str, ...]

    def texts(self) -> tuple[str, str]:
        """Standard output and standard error so far."""
        out, err = (os.pread(file.fileno(), 1 << 24, 0).decode(errors="surrogateescape") for file in self.files)
        return out, err

    def end(self, stdin: str = "", timeout: float = PATIENCE) -> Done:
        """Give it its input and wait for its end."""
        try:
            self.process.communicate(stdin.encode(), timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"{' '.join(self.words)} did not end: {self.texts()}") from None
        return Done(self.process.returncode, *self.texts())

    def close(self) -> None:
        """Release what it holds."""
        if self.process.stdin and not self.process.stdin.closed:
            self.process.stdin.close()
        for file in self.files:
            file.close()


class Runtime:
    """The program under test."""

    def __init__(self, command: tuple[str, ...]) -> None:
        self.command = command
        done = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True, timeout=PATIENCE)
        words = done.stdout.split()
        self.name = words[0]
        self.version = version_key(words[2])


@functools.cache
def under_test() -> Runtime:
    """The runtime that the environment names, else our own of this checkout or environment."""
    chosen = os.environ.get(VARIABLE)
    if chosen:
        return Runtime((chosen,))
    return Runtime(entry_point("rootless-oci"))


def version_key(text: str) -> tuple[int, ...]:
    """The numbers at the head of a version: ``1.1.5+ds1`` is ``(1, 1, 5)``."""
    head = re.match(r"[0-9.]*", text.removeprefix("v"))
    assert head is not None
    return tuple(int(part) for part in head[0].split(".") if part)


def become_subreaper() -> None:
    """Inherit the orphans of every runtime that is called."""
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0


def until(condition: Callable[[], bool], what: str = "it") -> None:
    """Poll until ``condition`` holds; fails after :data:`PATIENCE`."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"{what} did not happen in time"
        time.sleep(0.01)


def mappings() -> dict[str, list[dict[str, int]]]:
    """Mappings of a whole range: the caller is 0 inside, or for root :data:`ROOT_HOST_ID` is."""
    if IS_ROOT:
        whole = [{"containerID": 0, "hostID": ROOT_HOST_ID, "size": RANGE}]
        return {"uidMappings": whole, "gidMappings": whole}
    found = {}
    for name, own, database in (("uid", os.getuid(), "/etc/subuid"), ("gid", os.getgid(), "/etc/subgid")):
        given = subid_range(database)
        assert given is not None
        found[f"{name}Mappings"] = [
            {"containerID": 0, "hostID": own, "size": 1},
            {"containerID": 1, "hostID": given[0], "size": given[1]},
        ]
    return found


def template(*arguments: str) -> dict[str, Any]:
    """A config.json as an engine writes it: every new namespace but cgroup and time, the usual file systems."""
    kinds = ["mount", "pid", "network", "ipc", "uts", *["user"] * (not IS_ROOT)]
    mount = bundles.mount
    given: dict[str, Any] = {
        "ociVersion": "1.0.2",
        "process": {
            "args": list(arguments),
            "env": ["PATH=/usr/bin:/bin", "TERM=dumb"],
            "cwd": "/",
            "user": {"uid": 0, "gid": 0},
            "capabilities": {kind: list(bundles.CAPABILITIES) for kind in ("bounding", "effective", "permitted")},
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs"},
        "hostname": "box",
        "mounts": [
            mount("/proc", "proc", *HIDDEN),
            mount("/dev", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
            mount("/dev/pts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"),
            mount("/dev/shm", "tmpfs", *HIDDEN, "mode=1777", "size=65536k", source="shm"),
            mount("/sys", "sysfs", *HIDDEN, "ro"),
        ],
        "linux": {"namespaces": [{"type": kind} for kind in kinds]},
    }
    if not IS_ROOT:
        given["linux"] |= mappings()
    return given


class Mount(NamedTuple):
    """A line of mountinfo: proc(5)."""

    root: str
    options: set[str]
    fields: set[str]
    """The optional fields: ``shared:N``, ``master:N``, ``unbindable``."""
    kind: str
    super_options: set[str]


def mountinfo(text: str) -> dict[str, Mount]:
    """The mounts by their destination, the topmost of each."""
    found = {}
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        words = before.split()
        kind, _, super_options = after.split(" ", 2)
        found[words[4]] = Mount(words[3], set(words[5].split(",")), set(words[6:]), kind, set(super_options.split(",")))
    return found


class Box:
    """One bundle with a root file system of busybox, and the container made of it."""

    def __init__(self, runtime: Runtime, home: Path, name: str = "box") -> None:
        self.runtime = runtime
        self.home = home
        self.id = f"{name}-{home.name}"
        self.bundle = home / name
        self.root = self.bundle / "rootfs"
        self.bundle.mkdir(mode=0o755)
        bundles.make_root(self.root)
        self.config = template("true")
        self.environment = {
            "HOME": str(home),
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "XDG_RUNTIME_DIR": str(home / "run"),
            "XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME", str(home / "cache")),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        (home / "run").mkdir(mode=0o700, exist_ok=True)
        self.prefix: list[str] = []
        """Words before every call of the runtime, such as ``nsenter``."""
        self.running: list[Started] = []
        self.pids: list[int] = []

    # The configuration

    @property
    def process(self) -> dict[str, Any]:
        """``process`` of the configuration."""
        return dict_of(self.config, "process")

    @property
    def linux(self) -> dict[str, Any]:
        """``linux`` of the configuration."""
        return dict_of(self.config, "linux")

    def mount(self, destination: str, kind: str, *options: str, source: str | Path = "", **more: Any) -> None:
        """Add a mount at the end."""
        self.config["mounts"].append({**bundles.mount(destination, kind, *options, source=str(source)), **more})

    def bind(self, source: str | Path, destination: str, *options: str, **more: Any) -> None:
        """Add a bind mount at the end."""
        self.mount(destination, "bind", *(options or ("rbind",)), source=source, **more)

    def namespace(self, kind: str, path: str | None = None) -> None:
        """Ask for a new namespace, or for that of ``path``."""
        self.host_namespace(kind)
        self.linux["namespaces"].append({"type": kind, **({"path": path} if path else {})})

    def host_namespace(self, kind: str) -> None:
        """Ask for no namespace of this kind."""
        self.linux["namespaces"] = [one for one in self.linux["namespaces"] if one["type"] != kind]

    def drop_mount(self, destination: str) -> None:
        """Leave out a mount of the template."""
        self.config["mounts"] = [one for one in self.config["mounts"] if one["destination"] != destination]

    def map_users(self) -> None:
        """Run in a user namespace: a user's container always does; root's gets a range, and the files."""
        if IS_ROOT:
            self.namespace("user")
            self.linux.update(mappings())
            subprocess.run(["chown", "-R", "-h", f"{ROOT_HOST_ID}:{ROOT_HOST_ID}", str(self.root)], check=True)

    def join_users(self, pid: int) -> None:
        """Run in the user namespace of a process."""
        self.namespace("user", f"/proc/{pid}/ns/user")
        for name in ("uidMappings", "gidMappings"):
            self.linux.pop(name, None)

    def hook(self, moment: str, script: str, **more: Any) -> None:
        """Add a hook: a shell script that finds its state on standard input."""
        hooks = self.config.setdefault("hooks", {}).setdefault(moment, [])
        hooks.append({"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"], **more})

    def write(self) -> None:
        """Write config.json."""
        (self.bundle / "config.json").write_text(json.dumps(self.config))

    @contextmanager
    def in_mount_namespace(self, script: str) -> Iterator[Callable[[str], None]]:
        """Call the runtime in a mount namespace of its own, after ``script``; what it yields runs another script there.

        A user's is in a user namespace of his range, in which he is 0, and the container makes none, as with podman.
        """
        users = [] if IS_ROOT else ["--user", "--map-root-user", "--map-auto"]
        with holder(*users, "--mount", "--propagation", "private", script=f"set -e; {script}") as pid:
            enter = ["nsenter", "--target", str(pid), *["--user"] * (not IS_ROOT), "--mount"]
            self.host_namespace("user")
            for name in ("uidMappings", "gidMappings"):
                self.linux.pop(name, None)

            def outside(command: str) -> None:
                subprocess.run([*enter, "sh", "-c", command], check=True)

            self.prefix = enter
            try:
                yield outside
            finally:
                self.clean()
                self.running.clear()
                self.prefix = []

    # The runtime

    def command(self, *words: str) -> list[str]:
        """The whole command line of a call."""
        return [*self.prefix, *self.runtime.command, "--root", str(self.home / "state"), *words]

    def begin(self, *words: str, fds: Iterable[int] = ()) -> Started:
        """Call the runtime in the background."""
        files = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115 (closed by Started.close)
        process = subprocess.Popen(
            self.command(*words),
            stdin=subprocess.PIPE,
            stdout=files[0],
            stderr=files[1],
            pass_fds=tuple(fds),
            env=self.environment,
            cwd=self.bundle,
        )
        started = Started(process, files, words)
        self.running.append(started)
        return started

    def call(self, *words: str, stdin: str = "", fds: Iterable[int] = ()) -> Done:
        """Call the runtime and wait for its end."""
        return self.begin(*words, fds=fds).end(stdin)

    def ok(self, *words: str, stdin: str = "", fds: Iterable[int] = ()) -> str:
        """Call the runtime, which must succeed; its standard output."""
        done = self.call(*words, stdin=stdin, fds=fds)
        assert done.code == 0, f"{' '.join(words)} exits {done.code}: {done.err}{done.out}"
        return done.out

    def fails(self, *words: str) -> str:
        """Call the runtime, which must fail and say why; its standard error."""
        done = self.call(*words)
        assert done.code != 0, f"{' '.join(words)} succeeds: {done.out}"
        assert done.err.strip() and "Traceback" not in done.err, done
        return done.err

    def run(self, *flags: str, stdin: str = "", fds: Iterable[int] = ()) -> Done:
        """``run`` to the end of the container."""
        self.write()
        return self.call("run", "--bundle", str(self.bundle), *flags, self.id, stdin=stdin, fds=fds)

    def output(self, *arguments: str, code: int = 0) -> str:
        """What a program prints in the container; it must exit with ``code``."""
        self.process["args"] = list(arguments)
        done = self.run()
        assert done.code == code, f"{arguments} exits {done.code}: {done.err}{done.out}"
        return done.out

    def sh(self, script: str, code: int = 0) -> str:
        """What a shell script prints in the container."""
        return self.output("sh", "-c", script, code=code)

    def mounts(self) -> dict[str, Mount]:
        """The container's mounts."""
        return mountinfo(self.output("cat", "/proc/self/mountinfo"))

    def refused(self) -> str:
        """The configuration must be refused, before the program runs, and nothing may be left; the complaint."""
        self.process["args"] = ["touch", "/ran"]
        self.write()
        done = self.call("create", "--bundle", str(self.bundle), self.id)
        if done.code == 0:
            done = self.call("start", self.id)
            assert done.code != 0, "it is accepted"
            self.call("delete", "--force", self.id)
        assert self.status() == "absent" and not (self.root / "ran").exists()
        assert "Traceback" not in done.err, done.err
        return done.err + done.out

    def refused_program(self, program: str) -> str:
        """A program that cannot be started must make ``run`` fail and leave nothing; the complaint."""
        self.process["args"] = [program]
        done = self.run()
        assert done.code != 0 and "Traceback" not in done.err, done
        assert self.status() == "absent"
        return done.err

    def begin_run(self, *arguments: str, flags: Iterable[str] = ()) -> Started:
        """``run`` in the background, as far as the container exists."""
        self.process["args"] = list(arguments)
        self.write()
        started = self.begin("run", "--bundle", str(self.bundle), *flags, self.id)
        until(lambda: started.process.poll() is not None or self.status() == "running", "the start")
        return started

    def needs_cgroup(self) -> Cgroup:
        """Give the container a cgroup of the unified tree, below one that is the caller's; skips without one."""
        found = own_cgroup()
        if found is None:
            pytest.skip("needs a writable cgroup: the unified tree is not mounted, or nothing in it is this user's")
        self.linux["cgroupsPath"] = f"{found.path}/{self.id}"
        self.namespace("cgroup")
        return Cgroup(found.directory / self.id, self.linux["cgroupsPath"], found.controllers)

    def create(self, *arguments: str, flags: Iterable[str] = (), fds: Iterable[int] = ()) -> Started:
        """``create``, which must succeed; the program is ``arguments``, if any are given."""
        if arguments:
            self.process["args"] = list(arguments)
        self.write()
        started = self.begin("create", "--bundle", str(self.bundle), *flags, self.id, fds=fds)
        done = started.end()
        assert done.code == 0, f"create exits {done.code}: {done.err}{done.out}"
        self.pids.append(self.pid)
        return started

    def start(self) -> None:
        """``start``, which must succeed."""
        self.ok("start", self.id)

    def launch(self, *arguments: str, flags: Iterable[str] = ()) -> Started:
        """``create`` and ``start``."""
        started = self.create(*arguments, flags=flags)
        self.start()
        return started

    def sleep(self) -> None:
        """``create`` and ``start`` a container that lasts until it is killed."""
        self.launch("sleep", "1000")

    def state(self) -> dict[str, Any]:
        """``state`` of an existing container."""
        found = json.loads(self.ok("state", self.id))
        assert isinstance(found, dict)
        return found

    @property
    def pid(self) -> int:
        """The host's pid of the container's process."""
        return int(self.state()["pid"])

    def status(self) -> str:
        """The status by ``state``, or ``absent``."""
        done = self.call("state", self.id)
        return str(json.loads(done.out)["status"]) if done.code == 0 else "absent"

    def until_status(self, status: str) -> None:
        """Wait until ``state`` says so."""
        until(lambda: self.status() == status, f"the status {status}")

    def kill(self, name: str = "KILL", *flags: str) -> None:
        """``kill``, which must succeed."""
        self.ok("kill", *flags, self.id, name)

    def wait(self) -> int:
        """Reap the container's process, an orphan of ``create``; its exit code as a shell tells it."""
        pid = self.pids.pop()
        found: list[int] = []

        def ended() -> bool:
            reaped, status = os.waitpid(pid, os.WNOHANG)
            if reaped:
                found.append(os.waitstatus_to_exitcode(status))
            return bool(reaped)

        until(ended, "the end of the container")
        return found[0] if found[0] >= 0 else 128 - found[0]

    def stop(self) -> None:
        """Kill the container and wait until it is stopped."""
        self.kill()
        self.wait()
        self.until_status("stopped")

    def delete(self, *flags: str) -> None:
        """``delete``, which must succeed."""
        self.ok("delete", *flags, self.id)

    def exec(self, *words: str, stdin: str = "") -> Done:
        """``exec`` with the flags and the program that ``words`` are; the flags end with ``--``."""
        flags, program = split(words)
        return self.call("exec", *flags, self.id, *program, stdin=stdin)

    def exec_process(self, process: dict[str, Any], *flags: str) -> Done:
        """``exec --process`` with a process as in config.json."""
        path = self.home / "process.json"
        path.write_text(json.dumps(process))
        return self.call("exec", *flags, "--process", str(path), self.id)

    def executed(self, *words: str) -> str:
        """What a program prints that is executed in the container, where it must succeed."""
        done = self.exec(*words)
        assert done.code == 0, f"exec {words} exits {done.code}: {done.err}{done.out}"
        return done.out

    def clean(self) -> None:
        """End and delete everything."""
        for started in self.running:
            if started.process.poll() is None:
                started.process.kill()
                started.process.wait()
        if (self.home / "state").exists():
            with tempfile.TemporaryFile() as told:
                subprocess.run(
                    self.command("delete", "--force", self.id),
                    stdin=subprocess.PIPE,
                    stdout=told,
                    stderr=told,
                    env=self.environment,
                    cwd=self.home,
                    timeout=PATIENCE,
                    check=False,
                )
        for pid in self.pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        for started in self.running:
            started.close()


def split(words: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Flags and program, parted by ``--``; without it all is program."""
    if "--" not in words:
        return (), words
    at = words.index("--")
    return words[:at], words[at + 1 :]


def dict_of(parent: dict[str, Any], name: str) -> dict[str, Any]:
    """The object ``name`` of ``parent``, made where it is absent."""
    found = parent.setdefault(name, {})
    assert isinstance(found, dict)
    return found


def reap() -> None:
    """Reap every orphan that has ended, and end those that have not."""
    for _ in range(200):
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        for child in children:
            os.kill(int(child), signal.SIGKILL)
        time.sleep(0.01)


@contextmanager
def new_home() -> Iterator[Path]:
    """A directory on a disk (short enough for the path of a socket, open enough for mapped users)."""
    home = Path(tempfile.mkdtemp(prefix="oci", dir="/var/tmp"))
    home.chmod(0o755)
    try:
        yield home
    finally:
        remove_tree(home)


class Console:
    """A console socket (``--console-socket``), which receives the master of the container's terminal."""

    def __init__(self, home: Path) -> None:
        self.path = home / "console"
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.settimeout(PATIENCE)
        self.listener.bind(str(self.path))
        self.listener.listen()
        self.master = -1

    def receive(self) -> int:
        """The descriptor; exactly one must come."""
        connection, _ = self.listener.accept()
        with connection:
            connection.settimeout(PATIENCE)
            _, fds, _, _ = socket.recv_fds(connection, 4096, 4)
        assert len(fds) == 1, fds
        self.master = fds[0]
        return self.master

    def read_until(self, word: bytes) -> bytes:
        """Read from the terminal until ``word`` was seen."""
        seen = b""
        os.set_blocking(self.master, False)

        def found() -> bool:
            nonlocal seen
            try:
                seen += os.read(self.master, 4096)
            except (BlockingIOError, OSError):
                pass
            return word in seen

        until(found, f"{word!r} on the terminal")
        return seen

    def close(self) -> None:
        """Release the descriptors."""
        self.listener.close()
        if self.master >= 0:
            os.close(self.master)


class Cgroup(NamedTuple):
    """A directory of the unified tree below which the caller may make groups."""

    directory: Path
    path: str
    """Its path from the mount point, as ``cgroupsPath`` wants it."""
    controllers: frozenset[str]
    """The controllers that groups made in it have."""


MOUNT_POINT = Path("/sys/fs/cgroup")


@functools.cache
def own_cgroup() -> Cgroup | None:
    """Where the caller may make groups, or None (the old hierarchies, or nothing that is the caller's)."""
    if not (MOUNT_POINT / "cgroup.controllers").exists():
        return None
    path = Path("/proc/self/cgroup").read_text().rpartition("::")[2].strip()
    if path != "/":
        path = os.path.dirname(path)
    directory = MOUNT_POINT / path.lstrip("/")
    if not all(os.access(directory / name, os.W_OK) for name in (".", "cgroup.procs")):
        return None
    given = (directory / "cgroup.subtree_control").read_text().split()
    return Cgroup(directory, path.rstrip("/"), frozenset(given))


def namespace_id(pid: int | str, kind: str) -> str:
    """The namespace of a process: ``net:[4026531840]``."""
    return os.readlink(f"/proc/{pid}/ns/{kind}")


@contextmanager
def holder(*flags: str, script: str = "") -> Iterator[int]:
    """A process in namespaces of its own, made by unshare(1) with ``flags``, after ``script``; its pid."""
    command = ["unshare", *flags, "sh", "-c", f"{script}\necho; exec sleep 1000"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)
    try:
        assert process.stdout is not None and process.stdout.readline() == b"\n"
        yield process.pid
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def seccomp(*rules: dict[str, Any], default: str = "SCMP_ACT_ALLOW", **more: Any) -> dict[str, Any]:
    """``linux.seccomp`` with these rules, for this machine's architecture."""
    machine = {"x86_64": "SCMP_ARCH_X86_64", "aarch64": "SCMP_ARCH_AARCH64"}[os.uname().machine]
    return {"defaultAction": default, "architectures": [machine], "syscalls": list(rules), **more}
