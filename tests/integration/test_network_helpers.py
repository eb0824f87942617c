"""pasta and slirp4netns with a real network namespace."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rootless import network, paths
from rootless.errors import RootlessError
from rootless.network import ports
from rootless.network.helper import NetworkHandle, route_addresses

pytestmark = [pytest.mark.needs("userns", "tun")]
HELPERS = [
    pytest.param("pasta", marks=pytest.mark.needs("pasta")),
    pytest.param("slirp4netns", marks=pytest.mark.needs("slirp4netns")),
]
_SLEEPER = """
import os, sys
sys.path.insert(0, sys.argv[1])
from rootless.linux import libc
uid, gid = os.getuid(), os.getgid()
libc.unshare(libc.CLONE_NEWUSER | libc.CLONE_NEWNET)
for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
    open(f"/proc/self/{name}", "w").write(text)
from rootless.init.network import loopback_up
loopback_up()
print("ready", flush=True)
sys.stdin.read()
"""
_ROOT = Path(__file__).parents[2]
_ECHO = """
import socket, sys
kind = socket.SOCK_STREAM if sys.argv[1] == "tcp" else socket.SOCK_DGRAM
end = socket.socket(socket.AF_INET, kind)
end.bind(("0.0.0.0", int(sys.argv[2])))
if kind == socket.SOCK_STREAM:
    end.listen()
print("ready", flush=True)
if kind == socket.SOCK_STREAM:
    connection = end.accept()[0]
    connection.recv(100)
    connection.sendall(b"from inside")
    connection.close()
else:
    data, sender = end.recvfrom(100)
    end.sendto(b"from inside", sender)
"""
_DIAL = """
import socket, sys
for address in sys.argv[2:]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    end = socket.socket(family, socket.SOCK_STREAM)
    end.settimeout(1)
    try:
        end.connect((address, int(sys.argv[1])))
        print("reached", address)
    except OSError as error:
        print("closed", address, error)
"""
Attach = Callable[..., NetworkHandle]


@pytest.fixture
def namespace() -> Iterator[int]:
    """The pid of a process in a user and network namespace of its own."""
    command = [sys.executable, "-IS", "-c", _SLEEPER, str(_ROOT)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stdout.readline() == "ready\n"
        yield process.pid
        process.kill()


@pytest.fixture
def attach(namespace: int) -> Iterator[Attach]:
    """Attach the namespace by ``attach(mode, *published)``."""
    handles: list[NetworkHandle] = []

    def start(mode: str, *published: str) -> NetworkHandle:
        chosen = network.choose(mode, [mapping for text in published for mapping in ports.parse(text)])
        handle = network.attach(chosen, namespace)
        assert handle is not None
        handles.append(handle)
        handle.wait_ready()
        return handle

    yield start
    for handle in handles:
        handle.close()


def inside(pid: int, *command: str) -> list[str]:
    enter = ["nsenter", "--preserve-credentials", "--user", "--net", "--target", str(pid)]
    return [*enter, *command]


def open_files(pid: int) -> Iterator[str]:
    """What the descriptors of a process are."""
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            yield os.readlink(f"/proc/{pid}/fd/{name}")
        except FileNotFoundError:  # closed in the meantime
            continue


def ended(pidfd: int) -> bool:
    return bool(select.select([pidfd], [], [], 10)[0])


@pytest.mark.parametrize("mode", HELPERS)
def test_interface_and_route(mode: str, namespace: int, attach: Attach) -> None:
    attach(mode)
    interfaces = Path(f"/proc/{namespace}/net/dev").read_text()
    routes = Path(f"/proc/{namespace}/net/route").read_text().splitlines()[1:]
    assert interfaces.count(":") >= 2
    assert any(line.split()[1] == "00000000" for line in routes)


@pytest.mark.parametrize("mode", HELPERS)
@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_a_published_port_is_answered(mode: str, protocol: str, namespace: int, attach: Attach) -> None:
    # One number on both sides: answers to a UDP port of another number get lost in pasta of early 2023.
    port = ports.free_port(protocol)
    # Nor does slirp4netns bring back answers to a datagram from 127.0.0.1.
    address = route_addresses()[0] if (mode, protocol) == ("slirp4netns", "udp") else "127.0.0.1"
    attach(mode, f"{address}:{port}:{port}/{protocol}")
    command = inside(namespace, sys.executable, "-c", _ECHO, protocol, str(port))
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout and server.stdout.readline() == "ready\n"
        kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
        with socket.socket(socket.AF_INET, kind) as client:
            client.connect((address, port))
            client.settimeout(10)
            for _ in range(20):  # a datagram may be lost
                client.send(b"hello")
                if select.select([client], [], [], 0.5)[0]:
                    break
            assert client.recv(100) == b"from inside"
        server.kill()


@pytest.mark.parametrize("mode", HELPERS)
def test_a_range_leads_to_other_ports(mode: str, namespace: int, attach: Attach) -> None:
    attach(mode, "127.0.0.1:40100-40102:4321-4323")
    command = inside(namespace, sys.executable, "-c", _ECHO, "tcp", "4323")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout and server.stdout.readline() == "ready\n"
        with socket.create_connection(("127.0.0.1", 40102), timeout=10) as client:
            client.send(b"hello")
            assert client.recv(100) == b"from inside"
        server.kill()


@pytest.mark.parametrize("mode", HELPERS)
def test_the_hosts_loopback_is_closed(mode: str, namespace: int, attach: Attach) -> None:
    with socket.create_server(("127.0.0.1", 0)) as canary:
        port = canary.getsockname()[1]
        attach(mode)
        gateways = set()
        for line in Path(f"/proc/{namespace}/net/route").read_text().splitlines()[1:]:
            if line.split()[2] != "00000000":
                gateways.add(socket.inet_ntoa(bytes.fromhex(line.split()[2])[::-1]))
        targets = ["127.0.0.1", *gateways, "10.0.2.2", "169.254.1.1", "169.254.1.2"]
        command = inside(namespace, sys.executable, "-c", _DIAL, str(port), *targets)
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
        assert "reached" not in done.stdout
        assert done.stdout.count("closed") == len(targets)


@pytest.mark.parametrize("mode", HELPERS)
def test_the_helper_ends_with_its_handle(mode: str, attach: Attach) -> None:
    handle = attach(mode)
    pidfd = os.pidfd_open(handle.pid)
    handle.close()
    assert ended(pidfd)


@pytest.mark.parametrize("mode", HELPERS)
def test_the_helper_ends_with_a_killed_starter(mode: str, namespace: int) -> None:
    reading, writing = os.pipe()
    starter = os.fork()
    if starter == 0:
        try:
            handle = network.attach(network.choose(mode), namespace)
            assert handle is not None
            handle.wait_ready()
            os.write(writing, str(handle.pid).encode())
            time.sleep(60)
        finally:
            os._exit(1)
    helper = int(os.read(reading, 20))
    pidfd = os.pidfd_open(helper)
    os.kill(starter, signal.SIGKILL)
    os.waitpid(starter, 0)
    assert ended(pidfd)


@pytest.mark.parametrize("mode", HELPERS)
def test_the_helper_has_no_environment_and_no_descriptors(
    mode: str, attach: Attach, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LD_PRELOAD", "")
    monkeypatch.setenv("SECRET", "x")
    leaked = os.open("/etc/passwd", os.O_RDONLY)
    os.set_inheritable(leaked, True)
    handle = attach(mode)
    os.close(leaked)
    try:
        environ = Path(f"/proc/{handle.pid}/environ").read_bytes()
        names = list(open_files(handle.pid))
    except PermissionError:
        pytest.skip("needs a helper that can be looked into")
    assert b"SECRET" not in environ
    assert "/etc/passwd" not in names


@pytest.mark.parametrize("mode", HELPERS)
def test_a_dead_target_is_an_error(mode: str) -> None:
    with pytest.raises(RootlessError, match="cannot connect the container to the network"):
        network.attach(network.choose(mode), 2**22 - 1)


@pytest.mark.needs("pasta")
def test_bad_options_are_reported_in_pastas_words(attach: Attach) -> None:
    with pytest.raises(RootlessError, match="pasta failed: .*no-such-option"):
        attach("pasta:--no-such-option")


def test_a_port_in_use_is_refused() -> None:
    with socket.create_server(("0.0.0.0", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(RootlessError, match="address already in use"):
            network.choose("", ports.parse(f"{port}:80"))


def test_a_reserved_port_is_refused() -> None:
    lowest = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    if lowest < 2 or os.geteuid() == 0:
        pytest.skip("needs ports that are reserved for root")
    with pytest.raises(RootlessError, match="permission denied") as caught:
        network.choose("", ports.parse("1:80"))
    assert "ip_unprivileged_port_start=1" in caught.value.hint


def test_without_any_helper(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was not asked for is done without; what was, or cannot be had without one, is refused."""
    monkeypatch.setattr(paths, "_HELPER_DIRECTORIES", ())
    chosen = network.choose()
    assert (chosen.kind, chosen.helper) == ("none", "") and "pasta" in chosen.why
    published = ports.parse(f"127.0.0.1:{ports.free_port('tcp')}:80")
    for mode, wanted in (("pasta", ()), ("slirp4netns", ()), ("", published)):
        with pytest.raises(RootlessError) as caught:
            network.choose(mode, wanted)
        assert "--network none" in caught.value.hint and "passt" in caught.value.hint
    assert network.choose("none").helper == network.choose("host").helper == ""


@pytest.mark.needs("pasta", "slirp4netns")
def test_an_old_pasta_is_used_only_for_ports() -> None:
    path = paths.helper("pasta")
    assert path
    said = subprocess.run([path, "--help"], capture_output=True, text=True, check=False)
    old = "--map-guest-addr" not in said.stdout + said.stderr
    here = any(route_addresses())
    chosen = network.choose()
    assert chosen.kind == ("slirp4netns" if old or not here else "pasta")
    published = ports.parse(f"127.0.0.1:{ports.free_port('tcp')}:80")
    assert network.choose("", published).kind == ("pasta" if here else "slirp4netns")
    if chosen.kind == "slirp4netns":
        assert ("--enable-ipv6" in chosen.options) == bool(route_addresses()[1])
    assert "--enable-ipv6" not in network.choose("slirp4netns:enable_ipv6=false").options
