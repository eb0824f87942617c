"""config-linux.md, "Sysctl"."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conformance.support import HIDDEN, Box


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("net.ipv4.ip_forward", "1"),
        ("net.ipv4.ping_group_range", "0\t0"),
        ("net.ipv4.ip_unprivileged_port_start", "0"),
        ("kernel.msgmax", "16384"),
        ("kernel.shm_rmid_forced", "1"),
        ("kernel.sem", "32\t32000\t32\t128"),
        ("fs.mqueue.msg_max", "20"),
    ],
)
def test_namespaced(box: Box, name: str, value: str) -> None:
    box.mount("/dev/mqueue", "mqueue", *HIDDEN)
    box.linux["sysctl"] = {name: value.replace("\t", " ")}
    assert box.output("cat", f"/proc/sys/{name.replace('.', '/')}").strip() == value


def test_spelling_with_slashes(box: Box) -> None:
    box.linux["sysctl"] = {"net/ipv4/ip_forward": "1"}
    assert box.output("cat", "/proc/sys/net/ipv4/ip_forward") == "1\n"


def test_host_keeps_its_values(box: Box) -> None:
    before = Path("/proc/sys/kernel/msgmax").read_text()
    box.linux["sysctl"] = {"kernel.msgmax": "16384"}
    box.sleep()
    assert Path("/proc/sys/kernel/msgmax").read_text() == before


@pytest.mark.parametrize("name", ["vm.swappiness", "kernel.pid_max", "fs.file-max", "kernel.core_pattern"])
def test_of_the_host(box: Box, name: str) -> None:
    # The present value: a runtime that sets it nevertheless does no harm.
    box.linux["sysctl"] = {name: Path(f"/proc/sys/{name.replace('.', '/')}").read_text().strip()}
    box.refused()


@pytest.mark.parametrize(("name", "kind"), [("net.ipv4.ip_forward", "network"), ("kernel.msgmax", "ipc")])
def test_namespaced_without_its_namespace(box: Box, name: str, kind: str) -> None:
    box.host_namespace(kind)
    box.drop_mount("/sys")
    box.linux["sysctl"] = {name: Path(f"/proc/sys/{name.replace('.', '/')}").read_text().strip()}
    box.refused()


def test_absent(box: Box) -> None:
    box.linux["sysctl"] = {"net.ipv4.nonsense": "1"}
    box.refused()


def test_refused_value(box: Box) -> None:
    box.linux["sysctl"] = {"net.ipv4.ip_forward": "nonsense"}
    box.refused()


@pytest.mark.parametrize("name", ["net/../kernel/core_pattern", "net.ipv4/../../vm/swappiness"])
def test_name_that_leads_elsewhere(box: Box, name: str) -> None:
    box.linux["sysctl"] = {name: Path("/proc/sys/vm/swappiness").read_text().strip() if "vm" in name else "core"}
    box.refused()
