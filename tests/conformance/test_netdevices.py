"""config-linux.md, "Network Devices": interfaces that move into the container."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from tests.conformance.support import Box, holder, namespace_id

pytestmark = pytest.mark.since("netDevices")


@pytest.fixture
def host(box: Box) -> Iterator[int]:
    """A network namespace with a pair of interfaces, in which the runtime is called; the pid of its holder."""
    script = "set -e; ip link add outer type veth peer name inner; ip link set outer up"
    script += "; ip addr add 10.9.8.7/24 dev inner"
    with holder("--net", script=script) as pid:
        box.prefix = ["nsenter", "--target", str(pid), "--net"]
        yield pid
        box.clean()
        box.running.clear()
        box.prefix = []


@pytest.mark.as_root
def test_moves_with_its_address_and_is_up(box: Box, host: int) -> None:
    box.linux["netDevices"] = {"inner": {}}
    out = box.output("ip", "addr", "show", "dev", "inner")
    assert "10.9.8.7/24" in out and ",UP" in out


@pytest.mark.as_root
def test_new_name(box: Box, host: int) -> None:
    box.linux["netDevices"] = {"inner": {"name": "eth0"}}
    out = box.sh("ip addr show dev eth0; ls /sys/class/net")
    assert "10.9.8.7/24" in out and "inner" not in out.split()


@pytest.mark.as_root
def test_leaves_the_host(box: Box, host: int) -> None:
    box.linux["netDevices"] = {"inner": {}}
    box.sleep()
    shown = subprocess.run([*box.prefix, "ip", "link"], capture_output=True, text=True, check=True).stdout
    assert "inner" not in shown.replace("@inner", "") and namespace_id(box.pid, "net") != namespace_id(host, "net")


@pytest.mark.as_root
@pytest.mark.parametrize("name", ["lo", "a/b", "much-too-long-a-name", ".."])
def test_refused_name(box: Box, host: int, name: str) -> None:
    box.linux["netDevices"] = {"inner": {"name": name}}
    box.refused()
    subprocess.run([*box.prefix, "ip", "link", "show", "dev", "inner"], capture_output=True, check=True)


@pytest.mark.as_root
def test_name_by_template(box: Box, host: int) -> None:
    box.linux["netDevices"] = {"inner": {"name": "eth%d"}}
    assert "eth0" in box.output("ls", "/sys/class/net").split()


def test_absent_device(box: Box) -> None:
    box.linux["netDevices"] = {"nonsense0": {}}
    box.refused()


def test_without_a_network_namespace(box: Box) -> None:
    box.host_namespace("network")
    box.drop_mount("/sys")
    box.linux["netDevices"] = {"nonsense0": {}}
    box.refused()
