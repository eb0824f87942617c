"""Whom an image says its program is to be: users that are no ids, and files of accounts that are none."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from rootless.runtime.delete import delete_tree
from tests.support import bundles, hostile
from tests.support.canary import Canary, state_of
from tests.support.cli import Cli
from tests.support.figures import Tell
from tests.support.hostile import CASES, Image
from tests.support.layers import Item, directory, fifo, file, symlink
from tests.support.matrix import User

pytestmark = pytest.mark.needs("userns", "busybox")
NONE = "--network=none"
WHO = "echo $(id -u) $(id -g); grep CapEff /proc/self/status"
NO_POWER = "CapEff:\t0000000000000000"
LEAK = "leak:x:5:5::/leaked:/bin/sh\n"
OUT_OF_RANGE = (
    "4294967296", "4294967295", "99999999999999999999", "-1", "-0", "+0", "0x0", "1:", " 1", "1 ", "1\n", "0 0", "1:-1",
    "1000:99999999999", "1000:4294967296", "1000: 0", "\u0661", "1\u00a0", "00000000000", "1e3", "1.0", "1::0", ":",
)  # fmt: skip
EXACT = {"1": "1 0", "0001": "1 0", "1000": "1000 1000", "1000:7": "1000 7", "65534": "65534 0", "1000:0": "1000 0"}
ELSEWHERE = ("absolute", "pipe", "parent")
"""The images of accounts that are tried on other drivers, and without a range."""
BEYOND = ("2147483648", "2147483647", "70000", "0:70000", "4294967294")
"""Ids that are some, and not in the map of a range of 65,536."""


def accounts(canary: str) -> dict[str, list[Item]]:
    """What stands in place of /etc/passwd and /etc/group in each image."""
    up = "../" * 20 + canary.lstrip("/")
    links = {
        "absolute": f"{canary}/etc/passwd", "climbing": f"{up}/etc/passwd", "zero": "/dev/zero", "itself": "passwd",
        "stream": "/proc/self/fd/0", "first": "/proc/1/root/etc/shadow", "dangling": "/none",
    }  # fmt: skip
    made: dict[str, list[Item]] = {name: [symlink("etc/passwd", to)] for name, to in links.items()}
    made["pipe"] = [fifo("etc/passwd"), fifo("etc/group")]
    made["directory"] = [directory("etc/passwd"), directory("etc/group")]
    made["parent"] = [symlink("etc", f"{canary}/etc")]
    return made


@pytest.fixture(scope="module")
def canary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Canary]:
    """One for all images; its files of accounts know a user ``leak``."""
    made = Canary(tmp_path_factory.mktemp("outside") / "canary")
    (made.root / "etc" / "passwd").write_text(LEAK)
    (made.root / "etc" / "group").write_text("leak:x:5:\n")
    made.before = state_of(made.root)
    yield made
    made.check()


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory, canary: Canary) -> Path:
    """An OCI image layout of all images."""
    gone = [file("etc/.wh.passwd"), file("etc/.wh.group")]
    made = {name: Image([gone, items]) for name, items in accounts(str(canary)).items()}
    made["parent"] = Image([[file(".wh.etc")], accounts(str(canary))["parent"]])
    made["numbers"] = Image([[file("etc/passwd", "1000:x:0:0::/:/bin/sh\nroot:x:0:0::/:/bin/sh\n")]], {"User": "1000"})
    made |= {f"user-{number}": Image(config={"User": text}) for number, text in enumerate((*OUT_OF_RANGE, *EXACT))}
    return hostile.write_layout(tmp_path_factory.mktemp("users") / "layout", made)


@pytest.fixture(scope="module", params=CASES, ids="-".join)
def user(request: pytest.FixtureRequest, layout: Path, canary: Canary) -> Iterator[User]:
    """Each kind of user with each driver; all images in the first case."""
    names = accounts(str(canary)) if request.param == CASES[0] else ELSEWHERE
    with hostile.stored(request.param, layout, [*names, "numbers"]) as made:
        yield made


def test_a_number_is_no_name_row_24(user: User) -> None:
    """CVE-2016-3697, CVE-2018-10856: a line named 1000 makes nobody root, nor do powers outlive a change of user."""
    run = ("run", "--rm", NONE)
    if not user.kind.ranged:
        assert "not in the container's id map" in user.fails(126, *run, "localhost/numbers", "id")
        return
    for flags in ("", "--user=1000", "--user=1000:0", "--user=1000 --init", "--user=1000 -t"):
        shown = user.ok(*run, *flags.split(), "localhost/numbers", "sh", "-c", WHO).replace("\r", "")
        assert shown == f"1000 0\n{NO_POWER}\n", flags
    name = user.ok("run", "-d", NONE, "localhost/numbers", "sleep", "100").strip()
    try:
        for flags in ("", "-u 1000", "-u 1000 -t"):
            assert user.ok("exec", *flags.split(), name, "sh", "-c", WHO).replace("\r", "") == f"1000 0\n{NO_POWER}\n"
    finally:
        user.ok("rm", "-f", "-t", "0", name)


@pytest.mark.needs("subuid", "newuidmap")
def test_a_user_is_whole_or_refused_row_25(cli: Cli, layout: Path) -> None:
    """CVE-2024-40635, CVE-2026-46680, CVE-2026-30892: by the image, by run, by exec; never another id than was said."""
    image = ""
    for number, text in enumerate((*OUT_OF_RANGE, *EXACT)):
        image = cli.ok("pull", "--quiet", f"oci:{layout}:user-{number}").strip()
        if text in EXACT:
            shown = cli.ok("run", "--rm", NONE, image, "sh", "-c", "echo $(id -u) $(id -g)")
            assert shown.strip() == EXACT[text]
        else:
            done = cli.run("run", "--rm", NONE, image, "echo", "started")
            assert (done.returncode, done.stdout) == (126, ""), (text, done)
            assert "cannot " in done.stderr or "unable to find" in done.stderr, (text, done)
    name = cli.ok("run", "-d", NONE, "--user=0", image, "sleep", "100").strip()
    try:
        for text in (*OUT_OF_RANGE, *BEYOND):
            started, joined = ("run", "--rm", NONE, f"--user={text}", image), ("exec", "-u", text, name)
            for code, words in ((126, started), (255, joined)):
                done = cli.run(*words, "echo", "started")
                assert (done.returncode, done.stdout) == (code, "") and "Traceback" not in done.stderr, (words, done)
    finally:
        cli.ok("rm", "-f", "-t", "0", name)


def test_accounts_are_the_images_own_files_row_26(user: User, canary: Canary) -> None:
    """CVE-2024-9676, CVE-2025-4437, CVE-2026-47262: what leads out or is no file is as if it were not there."""
    first = (user.kind.name, user.driver) == CASES[0]
    for name in accounts(str(canary)) if first else ELSEWHERE:
        run = ("run", "--rm", "-i", NONE)
        done = user.run(*run, "--user=leak", f"localhost/{name}", "echo", "started", stdin=LEAK)
        assert done.returncode == 126 and "unable to find user leak" in done.stderr, (name, done)
        done = user.run(*run, "--user=0", "--group-add=leak", f"localhost/{name}", "echo", "started", stdin=LEAK)
        assert done.returncode == 126 and "unable to find group leak" in done.stderr, (name, done)
        script = "cat /proc/self/status; test -f /etc/passwd && cat /etc/passwd"
        number = "1234" if user.kind.ranged else "0"
        done = user.run(*run, f"--user={number}", f"localhost/{name}", "sh", "-c", script, stdin=LEAK)
        assert f"Uid:\t{number}\t" in done.stdout and "leaked" not in done.stdout, (name, done)


def spent() -> float:
    """Processor time of all commands so far, seconds: their wall time depends on what else the machine does."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.mark.needs("subuid", "newuidmap")
def test_accounts_without_end_row_26(cli: Cli, tmp_path: Path, figure: Tell) -> None:
    """CVE-2024-9676: 10 GiB of nothing, and ten million groups: only a part is read, at a start and at an exec."""
    root = bundles.make_root(tmp_path / "root")
    longest = 0.0
    try:
        for name in ("passwd", "group"):
            whole = (root / "etc" / name).read_bytes()
            for more in (b"", b"g:x:77:user\n" * 10_000_000):
                path = root / "etc" / name
                path.write_bytes(whole + more)
                if not more:
                    os.truncate(path, 10 << 30)
                run = ("run", "--rm", NONE, "--rootfs", str(root))
                times = []
                for _ in range(3):
                    begun = spent()
                    assert cli.ok(*run, "busybox", "grep", "^Uid", "/proc/self/status").split()[1] == "0"
                    cli.run(*run[:-2], "--user=user", *run[-2:], "true")
                    times.append((spent() - begun) / 2)
                longest = max(longest, min(times))
            path.write_bytes(whole)
        figure("processor time of a start with 10 GiB or ten million lines of accounts", "≤ 1 s", longest)
    finally:
        delete_tree(str(root))
