"""The socket of a container's monitor: whom it answers, and however deep it lies."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import pytest

from tests.support.cli import Cli, new_cli
from tests.support.of_user import IMAGE, of_user

pytestmark = pytest.mark.needs("busybox")


@pytest.mark.needs("userns", "subuid", "newuidmap")
def test_a_long_path_row_89(busybox_layout: Path) -> None:
    """CVE-2020-15257's other side: a path socket may be longer than sun_path (108), here more than 200 characters."""
    with new_cli() as cli:
        deep = cli.home / ("r" * 120)
        deep.mkdir(mode=0o700)
        cli.environment["XDG_RUNTIME_DIR"] = str(deep)
        image = cli.ok("pull", "--quiet", f"oci:{busybox_layout}:latest").strip()
        script = "read text; echo got $text; exit 5"
        name = cli.ok("run", "-d", "-i", "--network=none", image, "sh", "-c", script).strip()
        path = deep / "rootless" / "engine" / name / "attach"
        assert path.is_socket() and len(str(path)) > 200 and path.stat().st_mode & 0o777 == 0o600
        attached = cli.run("attach", name, stdin="words\n")
        assert (attached.returncode, attached.stdout) == (5, "got words\n")
        name = cli.ok("run", "-d", "--network=none", image, "sleep", "100").strip()
        assert cli.ok("stop", "-t", "0", name) and cli.ok("ps", "-q") == ""
        cli.ok("rm", "-af", "-t", "0")


def abstract_sockets(text: str) -> set[str]:
    """Those of /proc/net/unix without a path."""
    fields = (line.split(None, 7) for line in text.splitlines()[1:])
    return {found[7] for found in fields if len(found) > 7 and found[7].startswith("@")}


@pytest.mark.needs("userns", "subuid", "newuidmap")
def test_no_abstract_socket_row_89(shared_cli: Cli) -> None:
    """CVE-2020-15257: what a payload on the host's network can reach without a path is not of this program."""
    with open("/proc/net/unix", encoding="utf-8") as file:
        before = abstract_sockets(file.read())
    run = ("run", "-d", "-it", "--network=host", "localhost/busybox")
    names = [shared_cli.ok(*run, "sh", "-c", "sleep 1; cat /proc/net/unix; sleep 100").strip() for _ in range(2)]
    try:
        until = time.monotonic() + 20
        while "Inode" not in (text := shared_cli.ok("logs", names[1])) and time.monotonic() < until:
            time.sleep(0.1)
        assert "Inode" in text
        found = abstract_sockets(text.replace("\r", "")) - before
        assert not [name for name in found if any(word in name for word in ("rootless", "attach", *names))], found
        # Those that are there have no name at all, or a path that the container does not see.
        with pytest.raises(AssertionError):
            shared_cli.ok("exec", names[0], "test", "-e", str(shared_cli.home / "run"))
    finally:
        shared_cli.ok("rm", "-f", "-t", "0", *names)


@pytest.mark.as_root
def test_another_user_gets_no_answer_row_89() -> None:
    """SO_PEERCRED: even who may open the socket, as root may, is turned away when it is not his."""
    with of_user() as cli:
        script = "while :; do echo text; sleep 0.1; done"
        name = cli.ok("run", "-d", "--network=none", IMAGE, "sh", "-c", script).strip()
        path = cli.home / "run" / "rootless" / "engine" / name / "attach"
        assert path.stat().st_mode & 0o777 == 0o600 and path.parent.stat().st_mode & 0o777 == 0o700
        directory = os.open(path.parent, os.O_PATH)
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as stranger:
            stranger.settimeout(20)
            stranger.connect(f"/proc/self/fd/{directory}/attach")
            assert stranger.recv(100) == b""
        os.close(directory)
        assert cli.ok("inspect", "--format", "{{.State.Status}}", name) == "running\n"
