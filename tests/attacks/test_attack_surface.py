"""What of the kernel a program in a real container reaches: entry points, sockets, namespaces, interfaces."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from tests.support import programs, sandbox
from tests.support.cli import Cli
from tests.support.figures import Tell

pytestmark = pytest.mark.needs("userns", "busybox", "seccomp", "libseccomp", "gcc")
IMAGE = "localhost/busybox"
REFUSED = {errno.EPERM, errno.ENOSYS, errno.EACCES}
NO_PROTOCOL = errno.EPROTONOSUPPORT
UNIX, INET, INET6, NETLINK, ALG = 1, 2, 10, 16, 38
ROUTE, DIAG, AUDIT, UEVENT, GENERIC = 0, 4, 9, 15, 16


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the programs."""
    directory = tmp_path_factory.mktemp("tools")
    sandbox.build_probe(directory)
    programs.build("doors", directory)
    directory.chmod(0o755)
    return directory


def inside(cli: Cli, tools: Path, flags: str, *command: str) -> str:
    """What one of the programs prints in a container without a way out."""
    run = ("run", "--rm", "--network", "none", "-v", f"{tools}:/tools:ro", *flags.split(), IMAGE)
    return cli.ok(*run, f"/tools/{command[0]}", *command[1:])


@pytest.mark.parametrize(
    ("flags", "most"),
    [("", 12), ("-u 1000", 12), ("--hardened", 5), ("--hardened -u 1000", 5), ("--nested", 30), ("--privileged", 51)],
)
def test_entry_points(shared_cli: Cli, tools: Path, flags: str, most: int, figure: Tell) -> None:
    """security row G4: of 51 entry points at most 12 are reached by default, at most 5 with --hardened."""
    found = inside(shared_cli, tools, flags, "probe")
    reached = sorted(sandbox.reached(found))
    print(*reached)
    assert len(found.splitlines()) == 51
    how = f"with `{flags}`" if flags else "by default"
    figure(f"entry points of the kernel reached {how}", f"≤ {most}", len(reached), of=51)


def test_families_of_sockets_row_98(shared_cli: Cli, tools: Path) -> None:
    """security row 98: every family from 0 to 45 and every netlink protocol; four of each are there, and no more."""
    found = programs.answers(inside(shared_cli, tools, "", "doors", "families"))
    opened = {name for name, error in found.items() if not error}
    assert {name for name in found if name.startswith("family")} == {f"family-{number}" for number in range(46)}
    assert opened <= {f"family-{family}" for family in (UNIX, INET, INET6, NETLINK)} | {
        f"netlink-{protocol}" for protocol in (ROUTE, DIAG, UEVENT, GENERIC)
    }
    assert {f"family-{UNIX}", f"family-{INET}", f"netlink-{ROUTE}"} <= opened
    # Three protocols and the audit answer as on a kernel that lacks them, which programs know how to take.
    soft = {f"netlink-{protocol}": NO_PROTOCOL for protocol in (2, 7, 20)} | {f"netlink-{AUDIT}": errno.EINVAL}
    for name in set(found) - opened:
        protocol_missing = name in ("netlink-4", "netlink-15") and found[name] == NO_PROTOCOL
        no_ipv6 = name == "family-10" and found[name] == errno.EAFNOSUPPORT
        assert found[name] in REFUSED or found[name] == soft.get(name) or protocol_missing or no_ipv6, name


def test_sockets_of_a_32_bit_program_row_98(shared_cli: Cli, tools: Path) -> None:
    """security row 98: an i386 program gets its sockets by both calls; what socketcall hides, --hardened refuses."""
    programs.build("i386", tools, programs.FREESTANDING)
    if os.system(f"{tools}/i386 >/dev/null 2>&1"):
        pytest.skip("needs a kernel that runs 32-bit programs")

    def opened(flags: str, call: str) -> set[int]:
        lines = [line.split() for line in inside(shared_cli, tools, flags, "i386").splitlines()]
        assert len(lines) == 92
        return {int(family) for name, family, error in lines if name == call and error == "0"}

    usual = {UNIX, INET, INET6, NETLINK}
    assert opened("", "socket") <= usual
    assert {UNIX, INET} <= opened("", "socketcall")
    assert opened("--hardened", "socket") <= usual and UNIX in opened("--hardened", "socket")
    assert opened("--hardened", "socketcall") == set()


def test_namespaces_of_its_own_row_99(shared_cli: Cli, tools: Path) -> None:
    """security row 99: no way to a user namespace, whoever asks by whatever call, but --nested opens them."""
    for flags in ("", "-u 1000", "--hardened"):
        found = programs.answers(inside(shared_cli, tools, flags, "doors", "user-namespaces"))
        assert found.pop("fork") == 0
        assert found.pop("clone3-user") == errno.ENOSYS
        assert set(found.values()) == {errno.EPERM}, flags
    for flags in ("--nested", "--nested -u 1000", "--privileged"):
        found = programs.answers(inside(shared_cli, tools, flags, "doors", "user-namespaces"))
        assert (found["unshare-0"], found["clone-user"], found["clone3-user"]) == (0, 0, 0), flags


def test_other_interfaces_of_the_kernel_row_65(shared_cli: Cli, tools: Path) -> None:
    """security row 65: what is refused is refused through int 0x80 and x32 as well."""
    found = programs.answers(inside(shared_cli, tools, "", "doors", "other-interfaces"))
    if found.pop("getpid-i386"):
        pytest.skip("needs a kernel that runs 32-bit programs")
    assert set(found.values()) <= REFUSED, found


@pytest.mark.parametrize(
    "text",
    ["", "{", '{"defaultAction": "SCMP_ACT_ALLOW"', "[]", '{"defaultAction": "SCMP_ACT_NONE"}',
     '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mount"], "action": "SCMP_ACT_DENY"}]}',
     '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mount"]}]}',
     '{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_PDP11"]}'],
)  # fmt: skip
def test_bad_profiles_row_65(shared_cli: Cli, tmp_path: Path, text: str) -> None:
    """security row 65: a profile that is cut short or not understood is refused before anything starts."""
    profile = tmp_path / "profile.json"
    profile.write_text(text)
    options = ("--network", "none", "--security-opt", f"seccomp={profile}")
    error = shared_cli.fails(125, "run", "--rm", *options, IMAGE, "echo", "started")
    assert "seccomp" in error and "started" not in shared_cli.run("run", "--rm", *options, IMAGE, "echo").stdout
    assert shared_cli.ok("ps", "-aq") == ""


def test_filter_is_in_force_row_65(shared_cli: Cli) -> None:
    """security row 65: in the program, in the first process of --init, and in what joins, a health check too."""
    script = "grep -h Seccomp: /proc/1/status /proc/self/status"
    found = shared_cli.ok("run", "--rm", "--init", "--network", "none", IMAGE, "sh", "-c", script)
    assert found.split() == ["Seccomp:", "2"] * 2
    health = ("--health-cmd", f"{script} >/tmp/checked", "--health-interval", "disable")
    name = shared_cli.ok("run", "-d", "--network", "none", *health, IMAGE, "sleep", "100").strip()
    try:
        shared_cli.ok("healthcheck", "run", name)
        assert shared_cli.ok("exec", name, "cat", "/tmp/checked").split() == ["Seccomp:", "2"] * 2
        for flags in ((), ("--privileged",), ("-u", "1000")):
            assert shared_cli.ok("exec", *flags, name, "sh", "-c", script).split() == ["Seccomp:", "2"] * 2
    finally:
        shared_cli.ok("rm", "-f", "-t", "0", name)
