"""`mount` and `unmount`: a container's root for programs of the host, in the user's namespace alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cli import Cli
from tests.support.copying import IMAGE, NONE, background
from tests.support.drivers import DRIVERS

pytestmark = pytest.mark.needs("userns", "subuid", "newuidmap", "busybox")



@pytest.fixture(autouse=True)
def _clean(shared_cli: Cli) -> Iterator[None]:
    yield
    shared_cli.ok("rm", "-af", "-t0")


def inside(cli: Cli, script: str) -> tuple[str, str]:
    """Output and errors of a shell script in `unshare`, where $R is the program."""
    done = cli.run("unshare", "sh", "-c", script, env={"R": " ".join(cli.command())})
    return done.stdout, done.stderr


@pytest.mark.parametrize("driver", DRIVERS)
def test_changes_through_the_mount_are_the_containers(shared_cli: Cli, driver: str) -> None:
    create = ("--storage-driver", driver, "create", NONE, "--name", "c", IMAGE)
    shared_cli.ok(*create, "sh", "-c", "cat /added; ls /srv")
    change = "cat $m/etc/os-release && echo hello >$m/added && rm $m/srv/second-layer"
    script = f"m=$($R mount c) && {change} && $R unmount c"
    output, error = inside(shared_cli, script)
    assert error == ""
    assert output == 'ID=busybox\nPRETTY_NAME="busybox"\nc\n'
    assert shared_cli.ok("diff", "c").splitlines() == ["A /added", "C /srv", "D /srv/second-layer"]
    assert shared_cli.ok("start", "-a", "c") == "hello\n"


@pytest.mark.needs("overlay")
def test_lists(shared_cli: Cli) -> None:
    ids = [shared_cli.ok("create", NONE, "--name", name, IMAGE).strip() for name in ("a", "b")]
    path = str(Path(shared_cli.data) / "containers" / ids[0] / "merged")
    output, _ = inside(shared_cli, "$R mount a; $R mount a; $R mount; $R mount --no-trunc; $R mount --format json")
    lines = output.split("\n", 4)
    assert lines[:2] == [path, path]
    assert lines[2].split() == [ids[0][:12], path]
    assert lines[3].split() == [ids[0], path]
    assert json.loads(lines[4]) == [{"id": ids[0], "Names": ["a"], "mountpoint": path}]
    script = "$R mount --all | wc -l; $R umount -a; $R mount --format json; $R container mount -l"
    output, _ = inside(shared_cli, script)
    assert output.splitlines()[0] == "2"
    assert sorted(output.splitlines()[1:3]) == ["a", "b"]
    assert output.splitlines()[3:] == ["[]", path.replace(ids[0], ids[1])]


@pytest.mark.needs("overlay")
def test_what_is_refused(shared_cli: Cli) -> None:
    shared_cli.ok("create", NONE, "--name", "c", IMAGE)
    background(shared_cli, "runs")
    for command in ("mount", "unmount"):
        assert "must execute `rootless unshare` first" in shared_cli.fails(125, command, "c")
    assert "it runs" in inside(shared_cli, "$R mount runs")[1]
    assert "not mounted" in inside(shared_cli, "$R unmount c")[1]
    assert "no such container" in inside(shared_cli, "$R mount nope")[1]
    output, error = inside(shared_cli, "cd $($R mount c); $R unmount c; $R unmount --force c")
    assert "busy" in error
    assert output == "c\n"
    # What was mounted has gone with the namespace.
    assert inside(shared_cli, "$R mount") == ("", "")
    shared_cli.ok("rm", "c")
