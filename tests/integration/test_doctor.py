"""`doctor` on this machine, and on machines that lack something: what it says is true, and tells how to mend it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.support import hosts
from tests.support.cli import Cli

pytestmark = pytest.mark.needs("userns", "libseccomp", "seccomp")


def examined(cli: Cli, prefix: list[str]) -> tuple[int, dict[str, dict[str, str]]]:
    """The exit code, and {name of a check: it}, on the machine that ``prefix`` makes."""
    command = [*prefix, *cli.command("doctor", "--format", "json")]
    done = subprocess.run(command, env=cli.environment, capture_output=True, text=True, check=False, timeout=60)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, {check["Name"]: check for check in json.loads(done.stdout)}


def test_a_line_for_each_check(cli: Cli) -> None:
    lines = cli.ok("doctor").splitlines()
    checks = [line for line in lines if not line.startswith(" ")]
    assert all(line.split()[0] in ("OK", "less") for line in checks)
    names = {line[8:].partition(":")[0] for line in checks}
    assert names == {
        "kernel", "user namespace", "subordinate ids", "procfs", "runtime directory", "store", "root file system",
        "fuse", "tun", "network", "systemd", "control groups", "seccomp", "AppArmor", "SELinux", "Landlock",
    }  # fmt: skip
    for before, line in zip(lines, lines[1:], strict=False):
        assert not line.startswith(" ") or (line.strip().startswith("hint: ") and before.startswith("less"))


def test_for_programs(cli: Cli) -> None:
    """The keys are those of the manual; a command is part of its hint, and only what is less costs something."""
    checks = json.loads(cli.ok("doctor", "--json"))
    assert checks == json.loads(cli.ok("system", "doctor", "--format", "json"))
    for check in checks:
        assert list(check) == ["Name", "State", "Found", "Cost", "Command", "Hint"]
        assert check["Hint"].startswith(check["Command"]) and bool(check["Cost"]) == (check["State"] != "OK"), check
    assert "--json" in cli.fails(125, "doctor", "--json", "--format", "json")


@pytest.mark.needs("subuid", "newuidmap", "busybox", "overlay")
def test_what_is_there_is_there(cli: Cli, busybox_layout: Path) -> None:
    """It exits 0, and a container runs."""
    code, checks = examined(cli, [])
    assert code == 0
    ids = checks["subordinate ids"]["Found"].split()[0]
    image = cli.ok("pull", "--quiet", f"oci:{busybox_layout}:latest").strip()
    rows = cli.ok("run", "--rm", "--network", "none", image, "cat", "/proc/self/uid_map").split()
    assert sum(map(int, rows[2::3])) == int(ids)
    assert checks["root file system"]["Found"].startswith("overlay:")


@pytest.mark.parametrize(
    ("name", "lacking", "hint"),
    [
        ("subordinate ids", {"files": {"/etc/subuid": "", "/etc/subgid": ""}}, "usermod --add-subuids"),
        ("tun", {"without": ["/dev/net/tun"]}, "/dev/net/tun"),
    ],
)
def test_what_is_missing(cli: Cli, name: str, lacking: dict[str, object], hint: str) -> None:
    """A container still runs: 0, and the command that mends it."""
    code, checks = examined(cli, hosts.prefix(cli.home / "host", **lacking))  # type: ignore[arg-type]
    assert code == 0
    assert checks[name]["State"] == "less" and hint in checks[name]["Hint"], checks[name]


def test_no_user_namespaces(cli: Cli) -> None:
    """No container runs: 125, and the setting that is in the way."""
    script = 'echo 0 >/proc/sys/user/max_user_namespaces; exec setpriv --ambient-caps=-all --inh-caps=-all "$@"'
    prefix = ["unshare", "--user", "--map-current-user", "--keep-caps", "--mount", "sh", "-c", script, "sh"]
    code, checks = examined(cli, prefix)
    assert code == 125
    assert checks["user namespace"]["State"] == "BROKEN"
    assert "sysctl user.max_user_namespaces" in checks["user namespace"]["Hint"]


def test_a_store_that_cannot_be_opened(cli: Cli) -> None:
    cli.environment["XDG_DATA_HOME"] = "/proc/nowhere"
    code, checks = examined(cli, [])
    assert code == 125 and checks["store"]["State"] == "BROKEN" and "seccomp" in checks
