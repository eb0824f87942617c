"""Who may read what, across users and copies; and ranges of ids that are not the user's alone."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import hostile, hosts
from tests.support.cli import Cli
from tests.support.hostile import DRIVERS, Image
from tests.support.layers import file
from tests.support.matrix import User

NONE = "--network=none"
pytestmark = pytest.mark.needs("userns", "subuid", "newuidmap", "busybox")


@pytest.fixture(scope="module", params=DRIVERS)
def user(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[User]:
    """Each driver, and an image with a file of root's alone."""
    image = Image([[file("secret", "secret", 0o600)]])
    layout = hostile.write_layout(tmp_path_factory.mktemp("owners") / "layout", {"owners": image})
    with hostile.stored(("user", request.param), layout, ["owners"]) as made:
        yield made


def test_what_is_roots_is_read_by_root_alone_row_66(user: User, tmp_path: Path) -> None:
    """CVE-2021-20188, CVE-2019-18466: volumes, copies in and out, and what joins as another user."""
    mine = tmp_path / "mine"
    mine.mkdir(mode=0o700)
    (mine / "file").write_text("secret")
    (mine / "file").chmod(0o600)
    volumes = ("-v", f"{mine}:/mine", "-v", "closed:/closed")
    name = user.ok("run", "-d", NONE, *volumes, "localhost/owners", "sleep", "100").strip()
    try:
        script = "umask 077; echo secret >/closed/file; chmod 700 /closed"
        user.ok("exec", "-u", "0", name, "sh", "-c", script)
        user.ok("cp", str(mine / "file"), f"{name}:/copied")
        look = "for f in /secret /mine/file /closed/file /copied; do cat $f; done; ls /mine /closed; id -u"
        assert user.ok("exec", "-u", "0", name, "stat", "-c", "%u %a", "/copied") == "0 600\n"
        for words in (("exec", "-u", "1000", name), ("exec", "-u", "1000:0", name), ("exec", "-u", "user", name)):
            done = user.run(*words, "sh", "-c", look)
            assert "secret" not in done.stdout and done.stderr.count("ermission denied") >= 5, done
        run = ("run", "--rm", NONE, "--volumes-from", name, "--user=1000", "localhost/owners")
        done = user.run(*run, "sh", "-c", look)
        assert "secret" not in done.stdout, done
        assert user.ok("exec", "-u", "0", name, "sh", "-c", "cat /secret /mine/file /copied") == "secret" * 3
        user.ok("cp", f"{name}:/secret", str(tmp_path / "out"))
        assert (tmp_path / "out").stat().st_mode & 0o777 == 0o600
        assert (tmp_path / "out").stat().st_uid == os.getuid()
    finally:
        user.ok("rm", "-f", "-t", "0", name)
        user.ok("volume", "rm", "-f", "closed")


def seen(cli: Cli, scratch: Path, subuid: str, passwd: str = "") -> dict[str, str]:
    """What doctor says of subordinate ids on a host with these files."""
    files = {"/etc/subuid": subuid, "/etc/subgid": subuid}
    if passwd:
        files["/etc/passwd"] = Path("/etc/passwd").read_text() + passwd
    command = [*hosts.prefix(scratch, files=files), *cli.command("doctor", "--format", "json")]
    done = subprocess.run(command, env=cli.environment, capture_output=True, text=True, check=False, timeout=60)
    return next(check for check in json.loads(done.stdout) if check["Name"] == "subordinate ids")


def test_ranges_that_others_have_are_told_row_67(cli: Cli, tmp_path: Path) -> None:
    """A range over real users, the same range of two users, a part of another's: doctor names who it is."""
    mine = os.getuid()
    real = f"{mine}:200000:65536\n"
    cases = {
        "victim": (real, "victim:x:200010:200010::/:/bin/sh\n"), "stranger": (f"{real}stranger:200000:65536\n", ""),
        "neighbour": (f"neighbour:265000:65536\n{real}", ""),
    }  # fmt: skip
    for name, (subuid, passwd) in cases.items():
        check = seen(cli, tmp_path / name, subuid, passwd)
        assert name in json.dumps(check) and "also have ids" in json.dumps(check), check
    check = seen(cli, tmp_path / "alone", f"{real}next:265536:65536\n", "next:x:265536:265536::/:/bin/sh\n")
    assert "also have ids" not in json.dumps(check), check


def test_a_single_id_has_no_groups_row_67(cli: Cli, busybox_layout: Path, tmp_path: Path) -> None:
    """Without a range or without newgidmap the container has one id, and setgroups is denied in it."""
    image = cli.ok("pull", "--quiet", f"oci:{busybox_layout}:latest").strip()
    script = "cat /proc/self/setgroups; cat /proc/self/uid_map /proc/self/gid_map"
    poor = {
        "range": hosts.prefix(tmp_path / "a", files={"/etc/subuid": "", "/etc/subgid": ""}),
        "newgidmap": hosts.prefix(tmp_path / "b", without=["/usr/bin/newgidmap"]),
    }
    for missing, prefix in poor.items():
        command = [*prefix, *cli.command("run", "--rm", NONE, image, "sh", "-c", script)]
        done = subprocess.run(command, env=cli.environment, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, (missing, done)
        words = done.stdout.split()
        assert words[0] == "deny" and words[3] == words[6] == "1" and len(words) == 7, (missing, words)
