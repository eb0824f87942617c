"""What the default confinement costs: common programs do with it what they do without, and what does not has a flag."""

from __future__ import annotations

import re

import pytest

from tests.support.cli import CHECKOUT, Cli
from tests.support.figures import Tell

pytestmark = [
    pytest.mark.needs("userns", "overlay", "subuid", "newuidmap", "seccomp", "libseccomp"), pytest.mark.timeout(300)
]  # fmt: skip
PROGRAMS = CHECKOUT / "tests" / "support" / "common_programs.txt"
PAGE = CHECKOUT / "docs" / "security.md"
MACHINE = ("--rootfs", "/:O")
EVERY = """
one() {
    mkdir /tmp/$1; cd /tmp/$1
    timeout -k 1 60 bash -c "$2" >/tmp/$1.out 2>&1 </dev/null
    echo "$1 $?"
}
export -f one
grep '^[a-z]' /programs | sed 's/: /\\x00/' | tr '\\n' '\\0' | xargs -0 -n 2 -P 4 bash -c 'one "$@"' one
"""


def codes(cli: Cli, *flags: str) -> dict[str, int]:
    """{name: exit code} of all programs, run in one container of this machine's own files."""
    run = ("run", "--rm", "--network=none", "--tmpfs=/tmp:exec,mode=1777", "-v", f"{PROGRAMS}:/programs:ro", *flags)
    shown = cli.ok(*run, *MACHINE, "bash", "-c", EVERY, timeout=240)
    return {name: int(code) for name, code in (line.split() for line in shown.splitlines())}


def exceptions() -> list[tuple[str, str]]:
    """(command, flags) of the manual's table of what the default refuses."""
    text = PAGE.read_text().partition("## What the default refuses")[2].partition("\n## ")[0]
    return re.findall(r"^\| `([^`]+)` \|.*\| `([^`]+)` \|$", text, re.MULTILINE)


@pytest.mark.parametrize("who", ["", "-u 1000:1000"])
def test_common_programs(shared_cli: Cli, figure: Tell, who: str) -> None:
    """The exit code of each is that of the same program in a container in which nothing is refused."""
    free = codes(shared_cli, "--privileged", *who.split())
    if not who:
        free = {name: code for name, code in free.items() if not code}  # those that this machine has
    usual = codes(shared_cli, *who.split())
    changed = {name for name, code in free.items() if usual[name] != code}
    assert len(free) >= 50 and len(exceptions()) >= 8
    assert changed <= {command.split()[0] for command, _ in exceptions()}
    percent = 100 * (len(free) - len(changed)) / len(free)
    whose = "a user" if who else "root"
    figure(f"common programs of {whose} that the default confinement leaves as they are", "≥ 98 %", percent)


@pytest.mark.parametrize(("command", "flags"), exceptions())
def test_what_is_refused_has_a_flag(shared_cli: Cli, command: str, flags: str) -> None:
    """The table of the manual is true: refused by default, and works with the flag."""
    run = ("run", "--rm", "--network=none", "--tmpfs=/tmp")
    shell = (*MACHINE, "sh", "-c", command)
    assert shared_cli.run(*run, *shell).returncode != 0
    shared_cli.ok(*run, *flags.split(), *shell)
