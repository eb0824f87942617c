"""``--sysctl``: only what is the container's own is set, and to exactly what was given."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.test_run_flags import IMAGE
from tests.support.cli import Cli

pytestmark = pytest.mark.needs("userns", "busybox")
NONE = "--network=none"
OF_THE_HOST = ("kernel/core_pattern", "vm/overcommit_memory", "kernel/msgmax", "net/ipv4/ip_forward")


@pytest.fixture(autouse=True)
def _host_is_as_it_was() -> Iterator[None]:
    before = [Path("/proc/sys", name).read_text() for name in OF_THE_HOST]
    yield
    assert [Path("/proc/sys", name).read_text() for name in OF_THE_HOST] == before


@pytest.mark.parametrize(
    "text",
    [
        "kernel.shm_rmid_forced=1+kernel.core_pattern=|/evil", "net.ipv4.ip_forward=1+kernel.core_pattern=|/evil",
        "net.ipv4.ping_group_range=0 0+kernel.core_pattern=|/evil", "net.ipv4.ip_forward=1\nkernel.core_pattern=|/evil",
        "+kernel.core_pattern=|/evil", "kernel.core_pattern=|/evil", "kernel/core_pattern=|/evil",
        "net/../kernel/core_pattern=|/evil", "net.ipv4/../../kernel/core_pattern=|/evil",
        "fs.mqueue./../../kernel/core_pattern=|/evil", "net..ipv4.ip_forward=1", "kernel.shm max=1",
        "vm.overcommit_memory=1", "user.max_user_namespaces=1",
    ],
)  # fmt: skip
def test_smuggled_names_row_31(shared_cli: Cli, text: str) -> None:
    """CVE-2022-0811: refused as a whole, and nothing is started."""
    for flags in ((), ("--privileged",)):
        done = shared_cli.run("run", "--rm", NONE, *flags, "--sysctl", text, IMAGE, "echo", "started")
        assert done.returncode == 125 and "Error: cannot " in done.stderr, done.stderr
        assert "started" not in done.stdout


def test_values_are_literal_row_31(shared_cli: Cli) -> None:
    value = "a+kernel.core_pattern=|/evil $(id)"
    run = ("run", "--rm", NONE, "--sysctl", f"kernel.domainname={value}", "--sysctl", "kernel.msgmax=16384", IMAGE)
    script = "cat /proc/sys/kernel/domainname /proc/sys/kernel/msgmax"
    assert shared_cli.ok(*run, "sh", "-c", script) == f"{value}\n16384\n"


@pytest.mark.parametrize(
    ("flag", "text"),
    [("--network=host", "net.ipv4.ip_forward=1"), ("--ipc=host", "kernel.msgmax=1"), ("--pid=host", "kernel.msgmax=1"),
     ("--ipc=host", "fs.mqueue.msg_max=1"), ("--uts=host", "kernel.domainname=evil")],
)  # fmt: skip
def test_of_a_namespace_of_the_host_row_31(shared_cli: Cli, flag: str, text: str) -> None:
    error = shared_cli.fails(125, "run", "--rm", flag, "--sysctl", text, IMAGE, "true")
    assert "cannot set" in error and "host" in error
