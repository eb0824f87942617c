"""Images from the tools that people use, pulled from a registry and run; a terminal; a published port."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest

from tests.support.cli import Cli
from tests.support.registry import Registry, free_port

pytestmark = pytest.mark.needs("userns", "subuid", "newuidmap")
LOOK_AROUND = r"""
. /etc/os-release; echo $ID
perl -e 'print 6 * 7, "\n"'
dpkg-query -W -f '${Status}\n' bash
stat -c %U:%G /var/mail
"""
PATIENCE = 20.0  # seconds for something that takes one


def pull_and_run(cli: Cli, reference: str, *command: str) -> str:
    """The output of a command in a container of an image that is only in the registry."""
    cli.ok("pull", "--quiet", "--tls-verify=false", reference, timeout=280)
    return cli.ok("run", "--rm", "--network", "none", reference, *command)


@pytest.mark.needs("skopeo", "docker-registry")
@pytest.mark.parametrize("docker_format", [False, True], ids=["oci", "docker"])
def test_pushed_by_skopeo(cli: Cli, registry: Registry, busybox_layout: Path, docker_format: bool) -> None:
    reference = registry.push(busybox_layout, f"e2e/skopeo-{docker_format:d}", docker_format=docker_format)
    assert pull_and_run(cli, reference, "cat", "/srv/second-layer") == "second\n"


@pytest.mark.needs("podman", "docker-registry")
def test_pushed_by_podman(cli: Cli, registry: Registry, busybox_layout: Path) -> None:
    reference = f"{registry.address}/e2e/podman:latest"
    policy = cli.home / "config" / "containers" / "policy.json"
    policy.parent.mkdir(parents=True)
    policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
    podman = ["podman", "--root", str(cli.home / "podman"), "--runroot", str(cli.home / "podman-run")]
    podman += ["--storage-driver", "vfs", "--cgroup-manager", "cgroupfs"]

    def run(*arguments: str) -> str:
        command = [*podman, *arguments]
        done = subprocess.run(command, env=cli.environment, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    try:
        image = run("pull", "--quiet", f"oci:{busybox_layout}:latest").strip()
        run("push", "--quiet", "--tls-verify=false", image, f"docker://{reference}")
    finally:
        end_pause_process(cli.home)
    assert pull_and_run(cli, reference, "cat", "/srv/second-layer") == "second\n"


def end_pause_process(home: Path) -> None:
    """End the process that podman keeps for its next command."""
    for file in (home / "run").rglob("pause.pid"):
        os.kill(int(file.read_text()), 9)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.needs("debootstrap", "skopeo", "docker-registry")
def test_made_by_debootstrap(cli: Cli, registry: Registry, debian_layout: Path) -> None:
    reference = registry.push(debian_layout, "e2e/debian")
    output = pull_and_run(cli, reference, "bash", "-c", LOOK_AROUND)
    assert output.splitlines() == ["debian", "42", "install ok installed", "root:mail"]


class Terminal:
    """A pseudo-terminal with a program on its far side."""

    def __init__(self, cli: Cli, *arguments: str) -> None:
        self.screen = b""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            command = cli.command(*arguments)
            os.execvpe(command[0], command, cli.environment)

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self.fd, text.encode())

    def wait_for(self, text: str) -> None:
        """Read until ``text`` is on the screen."""
        deadline = time.monotonic() + PATIENCE
        while text.encode() not in self.screen:
            left = deadline - time.monotonic()
            assert left > 0, f"no {text!r} on the screen: {self.screen!r}"
            if select.select([self.fd], [], [], left)[0]:
                try:
                    read = os.read(self.fd, 4096)
                except OSError:
                    read = b""
                assert read, f"the program ended without {text!r}: {self.screen!r}"
                self.screen += read

    def end(self) -> int:
        """Wait for the program; its exit code."""
        try:
            while os.read(self.fd, 4096):
                pass
        except OSError:
            pass  # the far side is closed
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        os.close(self.fd)
        return code


def test_a_terminal(shared_cli: Cli) -> None:
    terminal = Terminal(shared_cli, "run", "--rm", "-it", "--network", "none", "localhost/busybox", "sh")
    terminal.wait_for("# ")
    terminal.type("tty; test -t 0 && test -t 1 && test -t 2 && echo all-$((40 + 2))\n")
    terminal.wait_for("/dev/pts/0")
    terminal.wait_for("all-42")
    terminal.type("sleep 60\n")
    time.sleep(0.3)
    terminal.type("\x03echo after-$((1 + 1))\n")
    terminal.wait_for("after-2")
    terminal.type("exit 7\n")
    assert terminal.end() == 7


@pytest.mark.needs("tun", "pasta")
def test_a_published_port_is_answered(shared_cli: Cli) -> None:
    port = free_port()
    script = "echo served >/srv/index.html; exec httpd -f -p 80 -h /srv"
    arguments = ("run", "--rm", "--init", "--publish", f"127.0.0.1:{port}:80", "localhost/busybox", "sh", "-c", script)
    with shared_cli.popen(*arguments) as server:
        try:
            assert fetch(f"http://127.0.0.1:{port}/") == b"served\n"
            server.terminate()
            server.communicate(timeout=PATIENCE)
        finally:
            server.kill()
    assert server.returncode == 128 + signal.SIGTERM


def fetch(address: str) -> bytes:
    """What a server that may still be starting answers."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            with urllib.request.urlopen(address, timeout=PATIENCE) as answer:
                return bytes(answer.read())
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
