"""Callers without a session: su, sudo and cron give them another's variables, or none; and root himself."""

from __future__ import annotations

import json
import os
import pwd
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.support import hosts
from tests.support.as_user import provisioned_user
from tests.support.cli import Cli, entry_point
from tests.support.of_user import OfUser, of_user
from tests.support.poor import IMAGE, PROBE, PoorCli, poor_cli

pytestmark = [pytest.mark.as_root, pytest.mark.needs("userns", "busybox")]


@pytest.fixture(scope="module")
def cli() -> Iterator[OfUser]:
    with of_user() as made:
        yield made


def as_user(
    words: list[str], environment: Mapping[str, str], *arguments: str
) -> subprocess.CompletedProcess[str]:  # fmt: skip
    """Run the program by a command that changes the user, with exactly this environment, and nothing to read."""
    command = [*words, f"cd / && exec {shlex.join([*entry_point(), *arguments])}"]
    return subprocess.run(
        command, env=dict(environment), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip


def store(cli: Cli) -> dict[str, str]:
    """What leads to the user's store, where he has set it for good (in his shell's profile, in the crontab)."""
    return {"XDG_DATA_HOME": cli.environment["XDG_DATA_HOME"], "PATH": os.environ["PATH"], "LANG": "C.UTF-8"}


def runs(done: subprocess.CompletedProcess[str]) -> bool:
    assert (done.returncode, done.stdout) == (0, "second\n"), done.stderr
    return "Error" not in done.stderr


def test_su(cli: OfUser) -> None:
    """With root's runtime directory and bus, which are not the user's: neither is used."""
    user = provisioned_user()
    of_root = {"XDG_RUNTIME_DIR": "/run/user/0", "DBUS_SESSION_BUS_ADDRESS": "unix:path=/run/user/0/bus"}
    environment = {**store(cli), **of_root, "HOME": "/root"}
    assert runs(as_user(["su", user, "-s", "/bin/sh", "-c"], environment, *PROBE))
    # With root's home too, of which nothing is needed when the store is elsewhere.
    assert runs(as_user(["su", "-p", user, "-s", "/bin/sh", "-c"], environment, *PROBE))
    login = as_user(["su", "-", user, "-s", "/bin/sh", "-c"], store(cli), "info", "--format", "json")
    assert json.loads(login.stdout)["Isolation"]["UserIDs"]["Has"] == ["ids", "ids.range"]


def test_a_home_of_another(cli: OfUser) -> None:
    """sudo -E, su -p: the store would be in root's home, which is closed. One line and a way out."""
    environment = {"HOME": "/root", "PATH": "/usr/bin:/bin"}
    done = as_user(["su", "-p", provisioned_user(), "-s", "/bin/sh", "-c"], environment, *PROBE)
    assert done.returncode == 125 and "Traceback" not in done.stderr
    assert "/root" in done.stderr and "--root" in done.stderr, done.stderr


def test_cron(cli: OfUser) -> None:
    """Four variables, no terminal, no standard input, a session of its own."""
    user = pwd.getpwnam(provisioned_user())
    become = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--init-groups"]
    change = ["setsid", "--wait", *become, "sh", "-c"]
    environment = {"HOME": str(cli.home), "LOGNAME": user.pw_name, "SHELL": "/bin/sh", **store(cli)}
    assert runs(as_user(change, environment, *PROBE))
    begun = as_user(change, environment, "run", "-d", "--name", "job", "--network", "none", IMAGE, "sleep", "100")
    assert begun.returncode == 0, begun.stderr
    try:
        assert as_user(change, environment, "exec", "job", "echo", "joined").stdout == "joined\n"
        shown = as_user(change, environment, "ps", "--format", "{{.Names}} {{.State}}")
        assert shown.stdout == "job running\n", shown
    finally:
        ended = as_user(change, environment, "rm", "-f", "-t", "0", "job")
    assert ended.returncode == 0, ended.stderr


def test_no_variables_at_all(cli: OfUser) -> None:
    """The home is that of the password database."""
    user = pwd.getpwnam(provisioned_user())
    change = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--init-groups", "sh", "-c"]
    done = as_user(change, {}, "info", "--format", "{{.Store.GraphRoot}}")
    assert done.returncode == 0 and done.stdout.startswith(f"{user.pw_dir}/"), done.stderr
    done = as_user(change, {}, "--root", str(cli.data), *PROBE)
    assert runs(done)


@pytest.fixture
def root(busybox_layout: Path) -> Iterator[PoorCli]:
    with poor_cli(busybox_layout) as made:
        yield made


def test_root_himself(root: PoorCli) -> None:
    """Without a range root's containers have the machine's own ids, which --strict refuses; with one they have not."""
    assert root.ok(*PROBE) == "second\n"
    line = root.got("--network", "none")["UserIDs"]
    assert line["Less"] and "ids" not in line["Has"] and "those of the machine" in line["Got"]
    check = root.doctor()["subordinate ids"]
    assert check["State"] == "less" and check["Command"].startswith("usermod --add-subuids ")
    error = root.fails(125, "run", "--rm", "--require", "ids", IMAGE, "true")
    assert "without ids" in error and "hint: usermod" in error
    text = "root:1000000:65536\n"
    root.prefix = hosts.prefix(root.home / "host", files={"/etc/subuid": text, "/etc/subgid": text})
    line = root.got("--network", "none")["UserIDs"]
    assert not line["Less"] and line["Has"] == ["ids", "ids.range"]
    assert root.doctor()["subordinate ids"]["State"] == "OK"
