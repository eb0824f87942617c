"""Bad input on the command line: refused in one line, with the right exit code, and without a trace."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.integration.test_run_flags import IMAGE
from tests.support.cli import Cli
from tests.support.refusal import refused

pytestmark = pytest.mark.needs("userns", "subuid", "newuidmap", "busybox")
NONE = "--network=none"
RUN = ("run", "--rm", NONE)

# One line a flag: its values, every one of which is refused before anything is made.
FLAGS = """
-v =|:|/a:b|/tmp:/x:zz|/tmp:/x:ro,rw|/tmp:/x:ro:rw:z|../nowhere:/y|na/me:/y|.n:/y|/tmp:|:/x|a:/|/nosuch:/x|n:/x:size=4
-v /tmp:/x:shared,private|vol:/x/../..|/tmp:relative
--mount type=bogus,dst=/x|type=bind,src=/tmp|type=bind,dst=/x|type=bind,src=/nosuch,dst=/x|type=devpts|"a|bogus
--mount type=bind,src=/tmp,dst=/x,zzz=1|type=bind,src=/tmp,dst=/x,ro=maybe|type=tmpfs,dst=/x,tmpfs-size=abc
--mount type=tmpfs,dst=/x,tmpfs-mode=99|type=tmpfs,src=/x,dst=/y|type=volume,src=a/b,dst=/x|type=image,dst=/x
--tmpfs x|/x:size=abc|/x:bogus|/x:mode=999|/|/x:size=-1
-p x|80:|0:80|70000:80|80:70000|1.2.3:80:80|80:80/xyz|8000-8001:80-85|9-8:9-8|[::1:80:80|80:80:80:80|-1:80|1.2.3.4:5
-e =x|=
--env-file /nosuch|/tmp|/etc/shadow|/dev/zero
--ulimit x|nofile|nofile=|nofile=a|nofile=5:4|bogus=1|nofile=1:2:3|nofile=99999999999999999999999|nofile=-2
--sysctl x|kernel.bogus=1|net.ipv4.ip_forward=abc|../../x=1|vm.swappiness=1|net.core.bogus=1|kernel.shmmax=abc
--device /nosuch|/dev/null:relative|/dev/null:/x:zz|/etc/passwd|vendor.com/class=x
--userns bogus|keep-id:uid=abc|keep-id:zz=1|keep-id:size=0|auto:size=99999999|auto:size=x|container:nosuch|ns:/nosuch
--uidmap x|0:1:9999999999|0:0:-1|0:0:0|1:1:10
--gidmap x|0:0:0|5:5
--security-opt bogus|seccomp=/nosuch|seccomp=/etc/passwd|seccomp=/tmp|mask=relative|no-new-privileges=maybe
--security-opt apparmor=bogus|label=type:foo|proc-opts=bogus=1|unmask=
--cap-add bogus|CAP_|all,bogus
--cap-drop bogus
--shm-size x|-1|99999999999999999999g|1zb
--umask 9|99999|abc|-1
--tz No/Such|../../etc/passwd
--stop-signal SIGBOGUS|0|999|-1
--timeout x|-1|99999999999999999999
--stop-timeout x
--name -x|a/b|..|a b|é|.
--hostname a b|-x
--add-host x|x:|x:999.1.1.1|:1.1.1.1|a b:1.1.1.1
--dns x|1.1.1
--dns-search a b
--pull bogus
--platform /|linux/amd64/v9/x
--log-driver bogus
--log-opt x|max-size=x
--log-level bogus
--pid bogus|container:nosuch|ns:/nosuch
--ipc bogus|container:nosuch
--uts bogus
--cgroupns bogus
--workdir relative
--cidfile /nosuch/x|/etc/passwd|/proc/x
--pidfile /nosuch/x
--attach bogus
--preserve-fds x|-1|5
--label =x
--label-file /nosuch
--annotation =x
--image-volume bogus
--expose x|99999
--volumes-from nosuch
--tty maybe
--read-only maybe
--bogus x
"""
LINES = [line.split(" ", 1) for line in FLAGS.strip("\n").split("\n")]
VALUES = [(flag, value) for flag, values in LINES for value in values.split("|")]

NETWORKS = (
    "bogus", "container:nosuch", "bridge", "ns:/nosuch", "none:x", "host:x", "slirp4netns:bogus=1", "pasta:--bogus",
    "pasta:-t,99999",
)  # fmt: skip

USAGE = """
bogus|run|run --rm|create|pull|rmi|tag|tag a|untag|rm|start|inspect|image bogus|image inspect|image exists
volume create a b|volume rm|container exists|system bogus|login a b|logout|import|history|--bogus|-x
--root|run --name|ps bogus|ps --filter bogus=x|ps --filter x|ps --format {{|images --format {{.Bogus}}|images a b
images --filter bogus=1|images --filter x|images --sort bogus|ps --sort bogus|info --format {{.Bogus}}|unshare --bogus
version --format {{.X}}|inspect --type bogus x|rm -t x c|volume create a/b|volume create --driver bogus v
volume create --opt bogus=1 v|volume ls --filter x|start nosuch|start -a nosuch|tag nosuch a|tag localhost/busybox UP
untag nosuch|untag localhost/busybox nosuch:x|history nosuch|system check --bogus|system df x|--root /proc/x info
system df --format {{.X}}|--root /etc/passwd info|--root /nosuch/x info|--runroot /proc/x info|--root /root info
--storage-driver bogus run --rm --network=none localhost/busybox true|completion|completion bogus|--log-format x info
exec x true|image exists a b|load -i /nosuch|pull oci:/nosuch|pull oci-archive:/nosuch
pull docker-archive:/nosuch|pull dir:/nosuch|pull oci:|pull docker://|import /nosuch|import http://127.0.0.1:1/x
run --rootfs /nosuch true|run --rootfs /etc/passwd true|run --rootfs / true|run --rootfs /:O:x true|run --rootfs
run --replace localhost/busybox true|run --userns=host --uidmap=0:0:1 localhost/busybox|login --tls-verify=x localhost
run --network=none --network=host localhost/busybox|run --network=none -p 8080:80 localhost/busybox
run -p 8080:80 -p 8080:81 localhost/busybox|run --network=host --sysctl=net.ipv4.ip_forward=1 localhost/busybox
run --pull=never nosuch:1|run --pull=never UPPER|create --pull=never nosuch:1|login localhost|rm a --all
"""

NAMES = (
    "", "UPPER", "a b", "a:b:c", "a@sha256:zz", "http://x/y", "docker.io/", "x:" + "t" * 200, "bogus:/x", "/etc/passwd",
    "./x", "é", "a\nb", "x/" * 200 + "y", "a\x1b[31m",
)  # fmt: skip


@pytest.mark.parametrize(("flag", "value"), VALUES)
def test_flag(shared_cli: Cli, flag: str, value: str) -> None:
    words = [f"{flag}={value}"] if flag.startswith("--") else [flag, value]
    refused(shared_cli, 125, *RUN, *words, IMAGE, "true")


@pytest.mark.needs("pasta", "tun")
@pytest.mark.parametrize("network", NETWORKS)
def test_network(shared_cli: Cli, network: str) -> None:
    refused(shared_cli, 125, "run", "--rm", f"--network={network}", IMAGE, "true")


@pytest.mark.parametrize("line", USAGE.replace("\n", "|").strip("|").split("|"))
def test_usage(shared_cli: Cli, line: str) -> None:
    error = refused(shared_cli, 125, *line.split())
    assert "\nhint: " in error or ": " in error.removeprefix("Error: ") or line == "logout"


@pytest.mark.parametrize("group", ["container", "image", "system", "volume"])
def test_a_group_alone_shows_what_is_in_it(shared_cli: Cli, group: str) -> None:
    done = shared_cli.run(group)
    assert done.returncode == 125 and f"Usage: rootless {group} " in done.stdout
    assert done.stderr == f"Error: missing command\nhint: see 'rootless {group} --help'\n"


@pytest.mark.parametrize("name", NAMES)
def test_image_name(shared_cli: Cli, name: str) -> None:
    for command in (("pull",), (*RUN, "--pull=never"), ("create", NONE)):
        error = refused(shared_cli, 125, *command, name, *([] if command == ("pull",) else ["true"]))
        assert "invalid reference format" in error and "hint: write it as" in error and "\x1b" not in error


def test_missing_objects(shared_cli: Cli) -> None:
    for command in ("rm", "rmi", "volume rm"):
        refused(shared_cli, 1, *command.split(), "nosuch")
    for command in ("inspect", "image inspect", "container inspect", "volume inspect"):
        refused(shared_cli, 125, *command.split(), "nosuch", stdout="[]\n")
    for command in ("image", "container"):
        assert shared_cli.run(command, "exists", "nosuch").returncode == 1


def test_name_in_use(shared_cli: Cli) -> None:
    shared_cli.ok("create", NONE, "--name", "taken", IMAGE, "true")
    try:
        for command in (("create", NONE), RUN):
            error = refused(shared_cli, 125, *command, "--name=taken", IMAGE, "true")
            assert "the name is already in use" in error and "rootless rm taken" in error
        refused(shared_cli, 125, *RUN, "--volumes-from=taken:zz", IMAGE, "true")
        refused(shared_cli, 125, *RUN, "--replace", "--name=taken", "--pull=never", "nosuch:1", "true")
        assert shared_cli.ok("run", "--rm", NONE, "--replace", "--name=taken", IMAGE, "echo", "new") == "new\n"
    finally:
        shared_cli.run("rm", "-f", "taken")


def test_command(shared_cli: Cli, tmp_path: Path) -> None:
    files = {
        "interpreter": b"#!/nosuch/interpreter\n", "directory": b"#!/etc\n", "text": b"hello\n", "empty": b"",
        "itself": b"#!/w/itself\n", "elf": b"\x7fELF" + bytes(200), "windows": b"#!/bin/sh\r\necho\r\n",
    }  # fmt: skip
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
        (tmp_path / name).chmod(0o755)
    tmp_path.chmod(0o755)
    codes = {
        127: ["nosuch", "/nosuch", "./nosuch", " ", "", "/etc/passwd/x", "/w/interpreter", "/w/windows"],
        126: ["/etc", "/etc/passwd", "/", ".", "/w/directory", "/w/text", "/w/empty", "/w/itself", "/w/elf"],
    }
    for code, commands in codes.items():
        for command in commands:
            error = refused(shared_cli, code, *RUN, "-v", f"{tmp_path}:/w", IMAGE, command)
            assert command[:10] in error
    refused(shared_cli, 126, *RUN, "--user=user", IMAGE, "/root/x")
    refused(shared_cli, 126, *RUN, "-v", f"{tmp_path}:/w:noexec", IMAGE, "/w/text")
    refused(shared_cli, 127, *RUN, '--entrypoint=["a"', IMAGE, "true")
    refused(shared_cli, 127, "run", "--rm", NONE, "--rootfs", str(tmp_path), "/nosuch")


def test_user_and_directory(shared_cli: Cli) -> None:
    for user in ("nosuch", "0:nosuch", "4000000000", "-1", "99999999999999999", "a:b:c", ":", "a\nb", "x" * 100_000):
        assert "user" in refused(shared_cli, 126, *RUN, f"--user={user}", IMAGE, "true") or ":nosuch" in user
    for group in ("nosuch", "99999999"):
        assert group in refused(shared_cli, 126, *RUN, f"--group-add={group}", IMAGE, "true")
    refused(shared_cli, 127, *RUN, "--workdir=/nosuch", IMAGE, "true")
    refused(shared_cli, 126, *RUN, "--workdir=/etc/passwd", IMAGE, "true")


@pytest.mark.needs("pasta", "tun")
def test_ports(shared_cli: Cli) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        error = refused(shared_cli, 125, "run", "--rm", "-p", f"127.0.0.1:{port}:80", IMAGE, "true")
        assert "address already in use" in error and f"127.0.0.1:{port}" in error
    assert "low ports" in refused(shared_cli, 125, "run", "--rm", "-p", "80:80", IMAGE, "true")
    refused(shared_cli, 125, "run", "--rm", "-p", "5.6.7.8:8099:80", IMAGE, "true")
    done = shared_cli.run("run", "--rm", "--network=host", "-p", "8099:80", IMAGE, "true")
    assert (done.returncode, done.stdout) == (0, "") and done.stderr.startswith("Port mappings have been discarded")


def test_sizes(shared_cli: Cli, tmp_path: Path) -> None:
    long = "x" * 100_000
    assert shared_cli.ok(*RUN, IMAGE, "echo", long) == long + "\n"
    for words in (
        ("--name", long, IMAGE), ("-v", f"/{long}:/x", IMAGE), (long,), ("-w", f"/{long}", IMAGE),
        ("--hostname", long, IMAGE), ("-v", f"/tmp:/{long[:5000]}", IMAGE), (f"--{long}", IMAGE),
        ("--rootfs", f"/{long[:5000]}"), ("--cidfile", f"/tmp/{long[:5000]}", IMAGE), ("--user", f"0:{long}", IMAGE),
    ):  # fmt: skip
        done = shared_cli.run(*RUN, *words, "true", timeout=30)
        assert done.returncode in (125, 126) and len(done.stderr) < 9000 and done.stderr.startswith("Error: ")
        assert "internal" not in done.stderr
    refused(shared_cli, 126, *RUN, IMAGE, f"/{long[:5000]}")
    (tmp_path / "one").write_text("A=" + "x" * 200_000)
    assert "the kernel takes" in refused(shared_cli, 125, *RUN, "--env-file", str(tmp_path / "one"), IMAGE, "true")
    (tmp_path / "many").write_text("".join(f"A{number}={'x' * 1000}\n" for number in range(3000)))
    assert "list too long" in refused(shared_cli, 126, *RUN, "--env-file", str(tmp_path / "many"), IMAGE, "true")
    (tmp_path / "nul").write_bytes(b"A=x\0y\n")
    refused(shared_cli, 125, *RUN, "--env-file", str(tmp_path / "nul"), IMAGE, "true")


def test_exit_codes(shared_cli: Cli) -> None:
    for code in (0, 1, 2, 124, 125, 126, 127, 128, 130, 137, 254, 255):
        done = shared_cli.run(*RUN, IMAGE, "sh", "-c", f"exit {code}")
        assert (done.returncode, done.stdout, done.stderr) == (code, "", "")
    for number in (1, 2, 4, 6, 8, 9, 10, 11, 13, 14, 15, 24, 31, 34, 64):
        script = f"kill -{number} $$; sleep 5"
        assert shared_cli.run(*RUN, "--init", IMAGE, "sh", "-c", script).returncode == 128 + number
