"""Who the program is: users and groups of the image, hostile password files, the id map."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from tests.support import bundles
from tests.support.fixtures import require

Run = Callable[..., "CompletedProcess[str]"]
pytestmark = pytest.mark.usefixtures("no_leftovers")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    require("userns", "busybox", "subuid", "newuidmap")
    return bundles.make_root(tmp_path / "rootfs")


@pytest.fixture
def run(tmp_path: Path, root: Path) -> Run:
    def start(user: str | None, script: str = "echo $(id -u) $(id -g) $(id -G) $HOME", **options: Any) -> Any:
        given = bundles.spec("sh", "-c", script)
        for kind in ("effective", "permitted"):
            given["process"]["capabilities"][kind] = [] if user not in (None, "", "0", "root") else bundles.CAPABILITIES
        return bundles.run(tmp_path, given, root, user=user, **options)

    return start


@pytest.mark.parametrize(
    ("user", "seen"),
    [
        (None, "0 0 0 /root"),
        ("", "0 0 0 10 /root"),
        ("root", "0 0 0 10 /root"),
        ("user", "1000 1000 1000 10 29 /home/user"),
        ("1000", "1000 1000 1000 10 29 /home/user"),
        ("1000:0", "1000 0 0 /home/user"),
        ("user:audio", "1000 29 29 /home/user"),
        ("4242", "4242 0 0 /"),
        ("4242:4243", "4242 4243 4243 /"),
        (":wheel", "0 10 10 /root"),
    ],
)
def test_user(run: Run, user: str | None, seen: str) -> None:
    done = run(user)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, seen, "")


def test_added_groups(run: Run) -> None:
    assert run("user", "id -G", groups=["wheel", "77"]).stdout.strip() == "1000 10 29 77"
    assert "unable to find group nobodys" in run("user", groups=["nobodys"]).stderr


@pytest.mark.parametrize("user", ["nobody", "nobody:0", "1000x", "root:nogroup"])
def test_unknown_name(run: Run, user: str) -> None:
    done = run(user)
    assert done.returncode == 126
    kind = "group nogroup" if "nogroup" in user else f"user {user.partition(':')[0]}"
    assert f"Error: unable to find {kind}: no matching entries in" in done.stderr


@pytest.mark.parametrize(
    "user",
    ["4294967296", "4294967295", "99999999999999999999", "-1", "+0", "1:", " 1", "1 ", "1\n", "1000:99999999999"],
)
def test_malformed_or_overflowing(run: Run, user: str) -> None:
    """CVE-2024-40635, CVE-2026-30892: a number that does not fit never becomes another one."""
    assert run(user).returncode == 126


@pytest.mark.parametrize("user", ["2147483648", "70000", "0:70000"])
def test_outside_the_map(run: Run, user: str) -> None:
    done = run(user)
    assert done.returncode == 126
    assert "it is not in the container's id map" in done.stderr


def test_number_is_not_a_name(run: Run, root: Path) -> None:
    """CVE-2016-3697: a line named 1000 does not make uid 1000 root; nor does the user keep capabilities."""
    (root / "etc" / "passwd").write_text("1000:x:0:0::/:/bin/sh\n")
    script = "id -u; grep -E 'Cap(Eff|Prm|Inh|Amb)' /proc/self/status | cut -f 2 | sort -u"
    assert run("1000", script).stdout.split() == ["1000", "0" * 16]


def test_hostile_passwd(run: Run, root: Path, tmp_path: Path) -> None:
    """CVE-2024-9676: links out, FIFOs, devices and giants are neither followed nor waited for."""
    canary = tmp_path / "canary"
    canary.write_text("leak:x:5:5::/canary:/bin/sh\n")
    passwd = root / "etc" / "passwd"
    attacks: list[Callable[[], object]] = [
        lambda: passwd.symlink_to(canary),
        lambda: passwd.symlink_to("../../../../../../" + str(canary)),
        lambda: passwd.symlink_to("/dev/zero"),
        lambda: passwd.symlink_to("passwd"),
        lambda: passwd.symlink_to("/proc/self/fd/0"),
        lambda: os.mkfifo(passwd),
        lambda: passwd.mkdir(),
        lambda: giant(passwd),
    ]
    for make in attacks:
        if passwd.is_dir():
            passwd.rmdir()
        else:
            passwd.unlink()
        make()
        begun = time.monotonic()
        assert run("leak").returncode == 126
        assert run("1000", "grep Uid /proc/self/status").stdout.split()[1] == "1000"
        assert time.monotonic() - begun < 5


def giant(path: Path) -> None:
    path.touch()
    os.truncate(path, 10 << 30)


def test_many_groups(run: Run, root: Path) -> None:
    with (root / "etc" / "group").open("a") as file:
        file.writelines(f"g{number}:x:{number % 60000 + 1}:user\n" for number in range(200_000))
    done = run("user", "id -u")
    assert (done.returncode, done.stdout) == (0, "1000\n")


def test_account_is_added(run: Run, root: Path, tmp_path: Path) -> None:
    script = "id -un; id -gn; tail -n 1 /etc/passwd; tail -n 1 /etc/group; touch /etc/passwd 2>/dev/null || echo safe"
    done = run("4242:4243", script, passwd_entry=True, files_dir=str(tmp_path))
    name, group, line, entry, safe = done.stdout.splitlines()
    assert (name, group, safe) == ("4242", "4243", "safe")
    assert line == "4242:*:4242:4243:container user:/:/bin/sh"
    assert entry == "4243:x:4243:4242"
    assert (root / "etc" / "passwd").read_text() == bundles.PASSWD


def test_somebody_else_is_known(run: Run, root: Path, tmp_path: Path) -> None:
    """An account besides that of the user, by which the user can be named; those of the image stay as they are."""
    keep = {"passwd_entry": True, "files_dir": str(tmp_path)}
    script = "id -u; id -g; tail -n 2 /etc/passwd; tail -n 1 /etc/group"
    shown = run("caller", script, account=["caller", 4242, 4243], **keep).stdout.splitlines()
    assert shown[:2] == ["4242", "4243"] and shown[3:] == ["caller:*:4242:4243::/:/bin/sh", "caller:x:4243:caller"]
    shown = run("77", script, account=["caller", 4242, 4243], **keep).stdout.splitlines()
    assert shown[2:4] == ["caller:*:4242:4243::/:/bin/sh", "77:*:77:0:container user:/:/bin/sh"]
    for taken in (["user", 4242, 4243], ["caller", 1000, 1000]):
        assert run("0", "cat /etc/passwd", account=taken, **keep).stdout == bundles.PASSWD
    assert (root / "etc" / "passwd").read_text() == bundles.PASSWD


def test_added_account_is_one_line(run: Run, root: Path, tmp_path: Path) -> None:
    """CVE-2022-4318: the working directory cannot smuggle in a second account."""
    given = bundles.spec("cat", "/etc/passwd")
    given["process"]["cwd"] = "/x\nevil:x:0:0::/:/bin/sh"
    done = bundles.run(
        tmp_path, given, root, user="4242", passwd_entry=True, files_dir=str(tmp_path), make_cwd=True
    )
    assert done.stdout == bundles.PASSWD + "4242:*:4242:0:container user:/:/bin/sh\n"


def test_missing_passwd_stays_missing(run: Run, root: Path, tmp_path: Path) -> None:
    (root / "etc" / "passwd").unlink()
    assert run("7", "ls /etc", passwd_entry=True, files_dir=str(tmp_path)).stdout == "group\n"


def test_groups_of_the_caller_do_not_come_along(run: Run) -> None:
    shown = run("user", "grep Groups /proc/self/status | cut -f 2").stdout.split()
    assert sorted(map(int, shown)) == [10, 29, 1000]


def test_streams_can_be_opened_anew(run: Run) -> None:
    assert run("user", "echo out >/dev/stdout; echo err >/dev/stderr").stdout == "out\n"
