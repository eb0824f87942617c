"""The flags of `run`, each seen from inside the container."""

from __future__ import annotations

import os
import pwd
import subprocess
from pathlib import Path

import pytest

from tests.support.cli import Cli

pytestmark = pytest.mark.needs("userns", "subuid", "newuidmap", "busybox")
IMAGE = "localhost/busybox"


def inside(cli: Cli, options: str, *command: str, stdin: str = "") -> str:
    """What a command prints in a throw-away container without network, without the last newline."""
    return cli.ok("run", "--rm", "--network", "none", *options.split(), IMAGE, *command, stdin=stdin).removesuffix("\n")


def shell(cli: Cli, options: str, script: str) -> str:
    """What a shell script prints in such a container."""
    return inside(cli, options, "sh", "-c", script)


def test_exit_codes(shared_cli: Cli) -> None:
    run = ("run", "--rm", "--network", "none", IMAGE)
    assert shared_cli.run(*run, "true").returncode == 0
    assert shared_cli.run(*run, "sh", "-c", "exit 42").returncode == 42
    assert shared_cli.run(*run, "sh", "-c", "sh -c 'kill -9 $$'; exit $?").returncode == 137
    shared_cli.fails(127, *run, "no-such-command")
    shared_cli.fails(126, *run, "/etc")
    shared_cli.fails(125, "run", "--rm", "localhost/no-such-image:x", "true")
    shared_cli.fails(125, "run", "--rm", "--network", "none", "--volume", "relative", IMAGE, "true")
    assert shared_cli.ok("ps", "-aq") == ""


def test_streams(shared_cli: Cli) -> None:
    run = ("run", "--rm", "--network", "none")
    done = shared_cli.run(*run, IMAGE, "sh", "-c", "echo out; echo err >&2")
    assert (done.stdout, done.stderr) == ("out\n", "err\n")
    assert shared_cli.ok(*run, "-i", IMAGE, "cat", stdin="text") == "text"
    assert shared_cli.ok(*run, IMAGE, "cat", stdin="text") == ""
    done = shared_cli.run(*run, "-a", "stderr", IMAGE, "sh", "-c", "echo out; echo err >&2")
    assert (done.stdout, done.stderr) == ("", "err\n")


def test_environment(shared_cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_text("# comment\nA=file\nB=file\nTAKEN\n")
    done = shared_cli.run(
        "run", "--rm", "--network", "none", "--env-file", str(file), "-e", "B=flag", "-e", "ONE*", "-e", "MISSING",
        "--hostname", "box", IMAGE, "env", env={"TAKEN": "host", "ONE_A": "1", "ONE_B": "2", "OTHER": "3"},
    )  # fmt: skip
    found = dict(line.split("=", 1) for line in done.stdout.splitlines())
    assert found["A"] == "file" and found["B"] == "flag" and found["TAKEN"] == "host"
    assert found["ONE_A"] == "1" and found["ONE_B"] == "2" and "OTHER" not in found and "MISSING" not in found
    assert found["container"] == "podman" and found["HOSTNAME"] == "box" and found["HOME"] == "/root"
    assert "PATH" not in shell(shared_cli, "--unsetenv PATH", "/bin/env").split("=")[0]


def test_user(shared_cli: Cli) -> None:
    assert inside(shared_cli, "-u 1000:1000", "id", "-u") == "1000"
    assert inside(shared_cli, "-u user", "id", "-un") == "user"
    assert shell(shared_cli, "-u 4321", "id -u; id -g; echo $HOME").split() == ["4321", "0", "/"]
    assert "CapEff:\t0000000000000000" in shell(shared_cli, "-u 1000", "cat /proc/self/status")
    shared_cli.fails(126, "run", "--rm", "--network", "none", "-u", "nobody-here", IMAGE, "true")
    for user in ("4294967296", "2147483648", "-1", "1:", ":1", "1000:99999999999"):
        shared_cli.fails(126, "run", "--rm", "--network", "none", f"--user={user}", IMAGE, "true")
    assert set(shell(shared_cli, "--group-add 7,8 -u 1000", "id -G").split()) >= {"7", "8"}


def test_user_namespaces(shared_cli: Cli) -> None:
    own = str(os.getuid())
    assert shell(shared_cli, "--userns keep-id", "id -u; stat -c %u /etc/passwd").split() == [own, "0"]
    name = pwd.getpwuid(os.getuid()).pw_name
    script = f"id -un; id -u {name}; id -gn {name}"
    assert shell(shared_cli, "--userns keep-id -u 0", script).split() == ["root", own, name]
    assert shell(shared_cli, f"--userns keep-id -u {name}", "id -u").split() == [own]
    assert shell(shared_cli, "--userns keep-id --passwd=false", f"id -u {name} 2>&1 || true").split()[0] == "id:"
    assert shell(shared_cli, "--userns keep-id:uid=77,gid=88", "id -u; id -g").split() == ["77", "88"]
    assert shell(shared_cli, "--userns nomap", "id -u; stat -c %u /etc/passwd").split() == ["0", "0"]
    rows = shell(shared_cli, "--userns auto:size=2000", "cat /proc/self/uid_map").split()
    assert rows[0] == "0" and rows[2] == "2000"
    assert shell(shared_cli, "--uidmap 0:1:500 --uidmap 500:0:1", "cat /proc/self/uid_map").split()[::3] == ["0", "500"]
    shared_cli.fails(125, "run", "--rm", "--uidmap", "0:1:99999999", IMAGE, "true")


def test_command(shared_cli: Cli) -> None:
    assert inside(shared_cli, "--entrypoint echo", "a", "b") == "a b"
    assert shared_cli.ok("run", "--rm", "--network=none", "--entrypoint", '["echo","x y"]', IMAGE, "z") == "x y z\n"
    assert inside(shared_cli, "-w /tmp", "pwd") == "/tmp"
    shared_cli.fails(127, "run", "--rm", "--network", "none", "-w", "/missing", IMAGE, "true")
    shared_cli.fails(125, "run", "--rm", "--network", "none", "-w", "/proc/self/fd/3", IMAGE, "true")
    assert shell(shared_cli, "--init", "cat /proc/1/comm; echo $$").split()[1] != "1"
    assert shell(shared_cli, "--umask 0077", "umask") == "0077"
    assert shell(shared_cli, "--tz Asia/Tokyo", "date +%Z") == "JST"


def test_read_only(shared_cli: Cli) -> None:
    script = "touch /x 2>/dev/null && echo root; touch /tmp/x && echo tmp; touch /dev/shm/x && echo shm"
    assert shell(shared_cli, "--read-only", script).split() == ["tmp", "shm"]
    script = "touch /tmp/x 2>/dev/null && echo tmp; true"
    assert shell(shared_cli, "--read-only --read-only-tmpfs=false", script) == ""


def test_namespaces(shared_cli: Cli) -> None:
    def of_host(kind: str) -> str:
        return os.readlink(f"/proc/self/ns/{kind}")

    for flag, kind in (("--pid", "pid"), ("--ipc", "ipc"), ("--uts", "uts"), ("--network", "net")):
        options = ["run", "--rm", *([] if flag == "--network" else ["--network=none"]), f"{flag}=host"]
        assert shared_cli.ok(*options, IMAGE, "readlink", f"/proc/self/ns/{kind}").strip() == of_host(kind)
        assert inside(shared_cli, "", "readlink", f"/proc/self/ns/{kind}") != of_host(kind)
    assert inside(shared_cli, "--ipc none", "ls", "/dev").split().count("shm") == 0


def test_capabilities_and_security(shared_cli: Cli, tmp_path: Path) -> None:
    def effective(options: str) -> int:
        line = shell(shared_cli, options, "grep CapEff /proc/self/status")
        return int(line.split()[1], 16)

    assert effective("--cap-drop all") == 0
    assert effective("--cap-drop all --cap-add net_raw") == 1 << 13
    assert effective("--privileged") > effective("")
    status = shell(shared_cli, "--security-opt no-new-privileges", "cat /proc/self/status")
    assert "NoNewPrivs:\t1" in status and "Seccomp:\t2" in status
    assert "Seccomp:\t0" in shell(shared_cli, "--security-opt seccomp=unconfined", "cat /proc/self/status")
    profile = tmp_path / "profile.json"
    profile.write_text(
        '{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":1}]}'
    )
    assert shell(shared_cli, f"--security-opt seccomp={profile}", "mkdir /x 2>/dev/null; echo $?") == "1"
    assert "cpu" in shell(shared_cli, "--security-opt unmask=/proc/interrupts", "cat /proc/interrupts").lower()
    assert shell(shared_cli, "--security-opt mask=/etc/passwd", "cat /etc/passwd") == ""
    shared_cli.fails(125, "run", "--rm", "--security-opt", "apparmor=docker-default", IMAGE, "true")
    shared_cli.fails(125, "run", "--rm", "--security-opt", "label=type:x", IMAGE, "true")
    assert "Seccomp:\t2" in shell(shared_cli, "--hardened", "cat /proc/self/status")


def test_limits(shared_cli: Cli) -> None:
    assert shell(shared_cli, "--ulimit nofile=100:200", "ulimit -n; ulimit -Hn").split() == ["100", "200"]
    assert shell(shared_cli, "--ulimit host", "true") == ""
    assert "65536" in shell(shared_cli, "--shm-size 64k", "df -B1 /dev/shm | tail -1") or "64" in shell(
        shared_cli, "--shm-size 64k", "df -k /dev/shm | tail -1"
    )
    assert shell(shared_cli, "--sysctl kernel.msgmax=4000", "cat /proc/sys/kernel/msgmax") == "4000"
    for bad in ("kernel.core_pattern=x", "a=1+kernel.core_pattern=x", "vm.swappiness=1", "net.ipv4.ip_forward=1\n"):
        shared_cli.fails(125, "run", "--rm", "--network", "host", f"--sysctl={bad}", IMAGE, "true")
    done = shared_cli.run("run", "--rm", "--network", "none", "--timeout", "1", IMAGE, "sleep", "30", timeout=15)
    assert done.returncode == 137


@pytest.mark.needs("fuse")
def test_devices(shared_cli: Cli) -> None:
    assert shell(shared_cli, "--device /dev/fuse", "test -c /dev/fuse && echo yes") == "yes"
    assert shell(shared_cli, "--device /dev/fuse:/dev/x:rw", "test -c /dev/x && echo yes") == "yes"
    shared_cli.fails(125, "run", "--rm", "--device", "/dev/fuse:/dev/x:r", IMAGE, "true")
    shared_cli.fails(125, "run", "--rm", "--device", "/dev/no-such", IMAGE, "true")


def test_hosts_and_names(shared_cli: Cli) -> None:
    text = shell(shared_cli, "--add-host far:192.0.2.7 --hostname box", "cat /etc/hosts; hostname")
    assert "192.0.2.7\tfar" in text and text.endswith("box")
    assert shell(shared_cli, "--dns 192.0.2.1 --dns-search a.example --dns-option ndots:2", "cat /etc/resolv.conf") == (
        "search a.example\nnameserver 192.0.2.1\noptions ndots:2"
    )
    assert len(inside(shared_cli, "", "hostname")) == 12


def test_files_of_ids(shared_cli: Cli, tmp_path: Path) -> None:
    cid, pid = tmp_path / "cid", tmp_path / "pid"
    shared_cli.ok("run", "--rm", "--network=none", f"--cidfile={cid}", f"--pidfile={pid}", IMAGE, "true")
    assert len(cid.read_text()) == 64 and pid.read_text().isdigit()
    shared_cli.fails(125, "run", "--rm", "--network=none", f"--cidfile={cid}", IMAGE, "true")


def test_preserved_descriptors(shared_cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "three"
    file.write_text("passed on")
    command = shared_cli.command("run", "--rm", "--network=none", "--preserve-fds=1", IMAGE, "sh", "-c", "cat <&3")
    opened = ["sh", "-c", 'exec 3<"$0"; exec "$@"', str(file), *command]
    done = subprocess.run(opened, env=shared_cli.environment, capture_output=True, text=True, timeout=30, check=False)
    assert done.stdout == "passed on", done.stderr
    shared_cli.fails(125, "run", "--rm", "--network=none", "--preserve-fds", "9", IMAGE, "true")


def test_rootfs(shared_cli: Cli, tmp_path: Path) -> None:
    done = shared_cli.run("run", "--rm", "--network=none", "--rootfs", "/:O", "sh", "-c", "echo hi; touch /etc/x-made")
    assert done.stdout == "hi\n"
    assert not Path("/etc/x-made").exists()
    shared_cli.fails(125, "run", "--rm", "--rootfs", "/", "true")
    shared_cli.fails(125, "run", "--rm", "--rootfs", str(tmp_path / "missing"), "true")
