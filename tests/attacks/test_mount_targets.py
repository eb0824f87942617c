"""Images and volumes in which the places of mounts are links to the host: on every driver, with and without a range.

Each image has busybox and what its name says. Nothing may be mounted, made or changed outside the root, and what
confines the container is never left out instead.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import images, matrix
from tests.support.canary import Canary, state_of
from tests.support.figures import NIGHTLY, amount
from tests.support.fixtures import require
from tests.support.layers import Item, archive, directory, file, symlink
from tests.support.matrix import USERS, User

pytestmark = pytest.mark.needs("userns", "busybox")
DRIVERS = {"overlay": ["overlay"], "fuse-overlayfs": ["fuse", "fuse-overlayfs"], "copy": []}
CASES = [("user", driver) for driver in DRIVERS] + [("user-alone", driver) for driver in ("overlay", "copy")]
"""With a range of ids, and without; the names are those of `tests.support.matrix`."""
NONE = "--network=none"
CORE = "/proc/sys/kernel/core_pattern"
SPECIAL = ("proc", "sys", "dev")
RUNS = amount(12, 100)


def hostile(canary: str) -> dict[str, list[Item]]:
    """The second layer of each image."""
    up = "../" * 20 + canary.lstrip("/")
    nodes: list[Item] = [
        directory("dev"), symlink("dev/null", CORE), symlink("dev/pts", canary),
        symlink("dev/console", f"{canary}/file"), symlink("dev/shm", f"{canary}/dir"), symlink("dev/mqueue", up),
        symlink("dev/ptmx", f"{canary}/ptmx"), symlink("dev/stdin", f"{canary}/file"),
    ]  # fmt: skip
    targets: list[Item] = [
        symlink("l", canary), symlink("up", up), symlink("chain", "l/dir"), symlink("self", "/proc/self/root" + canary),
        symlink("dangling", f"{canary}/none"), symlink("lib.so", f"{canary}/file"), file("hidden", "hidden"),
    ]  # fmt: skip
    made = {"nodes": [*nodes, file("hidden", "hidden")], "targets": targets}
    for name in SPECIAL:
        made[f"{name}-link"] = [symlink(name, canary)]
        made[f"{name}-inside"] = [directory("x"), directory("x/sys/kernel"), symlink(name, "/x")]
        made[f"{name}-file"] = [file(name, "x")]
    return made


@pytest.fixture(scope="module")
def canary(tmp_path_factory: pytest.TempPathFactory) -> Canary:
    """One for all images, with a ``ptmx`` in it."""
    made = Canary(tmp_path_factory.mktemp("outside") / "canary")
    (made.root / "ptmx").write_text("canary ptmx")
    made.before = state_of(made.root)
    return made


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory, canary: Canary) -> Path:
    """An OCI image layout of all of them."""
    target = tmp_path_factory.mktemp("hostile") / "layout"
    made = images.Layout(target)
    parts = images.busybox_tar()
    base = made.add_layer(parts)
    for name, items in hostile(str(canary)).items():
        # What stands in the base in place of a link is to go first.
        gone = [file(f".wh.{item.name}") for item in items if item.name in SPECIAL and item.kind != b"5"]
        layers = [base, made.add_layer(archive(gone)), made.add_layer(archive(items))]
        made.add_image(name, layers, {"Cmd": ["sh"]})
    return target


@pytest.fixture(scope="module", params=CASES, ids="-".join)
def user(request: pytest.FixtureRequest, layout: Path, canary: Canary) -> Iterator[User]:
    """Each kind of user with each driver, and the images; at the end nothing is left behind."""
    kind, driver = USERS[request.param[0]], request.param[1]
    require(*DRIVERS[driver], *(["subuid", "newuidmap"] if kind.ranged else []))
    with matrix.new_user(kind) as made:
        made.driver = driver
        every = driver == "overlay" and kind.ranged
        for name in hostile(str(canary)):
            if not every and name.endswith(("-inside", "-file")):
                continue
            made.ok("tag", made.ok("pull", "--quiet", f"oci:{layout}:{name}").strip(), f"localhost/{name}")
        yield made
        assert made.leftovers() == []


@pytest.fixture(autouse=True)
def _unchanged(canary: Canary) -> Iterator[None]:
    """Nothing outside has changed after any of them."""
    core = Path(CORE).read_text()
    yield
    canary.check()
    assert Path(CORE).read_text() == core


@pytest.fixture
def full(user: User) -> bool:
    """Whether this is the case in which all variants are tried: elsewhere what matters is the driver and the map."""
    return user.driver == "overlay" and user.kind.ranged


def run(user: User, image: str, script: str, *flags: str) -> str:
    """What a shell script prints in a throw-away container."""
    return user.ok("run", "--rm", NONE, *flags, f"localhost/{image}", "sh", "-c", script)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A directory to be mounted, with a file ``mark`` and a directory ``empty``."""
    made = tmp_path / "source"
    made.mkdir()
    (made / "empty").mkdir()
    (made / "mark").write_text("mark")
    return made


def test_proc_sys_and_dev_are_directories_rows_45_46(user: User, full: bool) -> None:
    """CVE-2023-27561, CVE-2023-28642, CVE-2026-41579: a link would take the masks, or the devices, elsewhere."""
    for name in SPECIAL:
        for kind in ("link", "inside", "file") if full else ("link",):
            for flags in ((), ("--privileged",), ("-t",)) if full and kind == "link" else ((),):
                run = ("run", "--rm", NONE, *flags, f"localhost/{name}-{kind}", "echo", "started")
                assert f"cannot mount /{name}: in the image it is not a directory" in user.fails(125, *run)


@pytest.mark.parametrize("flags", ["", "-t", "-t --privileged", "-t --init"])
def test_devices_of_the_image_play_no_part_rows_42_43(user: User, flags: str) -> None:
    """CVE-2025-31133, CVE-2025-52565: null, console and pts of the image are links to where a write would matter."""
    script = "for n in null console pts shm ptmx; do echo $n $(stat -c %F /dev/$n 2>&1); done; wc -c </hidden"
    shown = run(user, "nodes", script, *flags.split(), "--security-opt=mask=/hidden").replace("\r", "").splitlines()
    found = dict(line.split(" ", 1) for line in shown[:-1])
    assert shown[-1] == ("0" if "--privileged" not in flags else shown[-1])
    assert found["null"] == "character special file" and found["pts"] == found["shm"] == "directory"
    assert ("character special file" in found["console"]) == ("-t" in flags)
    assert found["ptmx"] in ("character special file", "symbolic link")


@pytest.mark.parametrize("flags", ["", "-t", "-t --privileged"])
def test_a_volume_in_place_of_dev_rows_42_43_46(user: User, canary: Canary, tmp_path: Path, flags: str) -> None:
    """The same in a volume on /dev, which another container has filled."""
    volume = tmp_path / "volume"
    volume.mkdir()
    for item in hostile(str(canary))["nodes"][1:-1]:
        (volume / item.name.removeprefix("dev/")).symlink_to(item.text)
    words = ("-v", f"{volume}:/dev", "localhost/targets", "wc", "-c", "/proc/keys")
    done = user.run("run", "--rm", NONE, *flags.split(), *words)
    assert done.returncode in (0, 1, 125), done.stderr
    assert "Traceback" not in done.stderr
    if done.returncode == 0 and "--privileged" not in flags:
        assert done.stdout.split()[0] == "0"


TARGETS = ("/l", "/l/dir", "/l/new/deep", "/l/../made", "/up/other", "/up/new/er", "/chain/below", "/dangling/x")


def test_places_of_volumes_are_inside_rows_48_49(user: User, source: Path, full: bool) -> None:
    """CVE-2019-18837, CVE-2024-45310: by -v, --mount, --tmpfs and with a new volume, directories and files."""
    # The .. is taken off before a link is looked at.
    look = "".join(f"cat {target.replace('/l/..', '')}/mark; " for target in TARGETS)
    binds = [f"--volume={source}:{target}" for target in TARGETS]
    assert run(user, "targets", look, *binds) == "mark" * len(TARGETS)
    for target in ("/l/dir", "/up/new/er", "/dangling/x") if full else ("/l/dir",):
        mounts = (f"--mount=type=bind,src={source}/empty,dst={target},ro", "--tmpfs", f"{target}-t")
        files = ("-v", f"{target}-v", "-v", f"{source}/mark:{target}-f")
        script = f"touch {target}-t/x {target}-v/x; ls {target}-t {target}-v {target}; cat {target}-f"
        assert run(user, "targets", script, *mounts, *files).split() == [
            f"{target}:", f"{target}-t:", "x", f"{target}-v:", "x", "mark",
        ]  # fmt: skip


def test_places_of_files_are_inside_row_55(user: User, source: Path) -> None:
    """CVE-2024-0132: what a device's description mounts, a library on a link of the image, is mounted inside."""
    targets = ("/lib.so", "/l/new.so", "/up/victim", "/dangling")
    binds = [f"--volume={source}/mark:{target}:ro" for target in targets]
    assert run(user, "targets", f"cat {' '.join(targets)}", *binds) == "mark" * len(targets)
    done = user.run("run", "--rm", NONE, "--device", "nvidia.com/gpu=all", "localhost/targets", "echo", "started")
    assert done.returncode == 125 and "started" not in done.stdout


PROC = ("/proc", "/proc/", "/proc/sys", "/proc/self/attr", "/proc/1/attr/exec", "/proc/1", "/l/../proc", "/proc/asound")


def test_nothing_stands_in_for_proc_rows_44_50(user: User, source: Path, full: bool) -> None:
    """CVE-2019-16884, CVE-2019-19921, CVE-2025-52881: what is written there would go nowhere, or elsewhere."""
    for number, target in enumerate(PROC if full else PROC[3:5]):
        whats = (("-v", f"{source}:{target}"), ("--tmpfs", target), ("-v", target), ("-v", f"{source}/mark:{target}"))
        for what in whats if NIGHTLY else whats[number % 2 :: 2]:
            done = user.run("run", "--rm", NONE, *what, "localhost/targets", "echo", "started")
            assert (done.returncode, done.stdout) == (125, ""), (what, done.stderr)


def test_read_only_volumes_are_so_throughout_row_56(user: User, source: Path, full: bool) -> None:
    """Wherever file systems are mounted below it; and what a volume may not do it may not after a remount."""
    script = """
        for d in /host/dev/shm /host/tmp /host/var/tmp; do touch $d/x 2>/dev/null && echo wrote $d; done
        mount -o remount,rw,bind /host 2>/dev/null; mount -o remount,exec,suid,dev /v 2>/dev/null
        touch /host/tmp/x 2>/dev/null && echo wrote; grep ' /v ' /proc/mounts
    """
    kinds = [[], ["--cap-add=sys_admin"], ["--security-opt=seccomp=unconfined", "--cap-add=all"]]
    for flags in kinds if full else kinds[2:]:
        shown = run(user, "targets", script, "-v", "/:/host:ro", "-v", f"{source}:/v:noexec,nosuid,nodev", *flags)
        assert "wrote" not in shown
        assert {"noexec", "nosuid", "nodev"} <= set(shown.split()[3].split(","))


def test_mounts_of_the_host_stay_row_56(user: User, source: Path, full: bool) -> None:
    """After many containers with every propagation, and mounts made in them, the host's are what they were."""
    before = Path("/proc/self/mountinfo").read_text()
    for number in range(RUNS if full else 2):
        kind = ("rshared", "rslave", "rprivate", "shared")[number % 4]
        script = "mount -t tmpfs x /tmp && mount --bind /tmp /v; grep -c ' /v ' /proc/mounts"
        assert run(user, "targets", script, "-v", f"{source}:/v:{kind}", "--privileged") == "2\n"
    assert Path("/proc/self/mountinfo").read_text() == before
    assert sorted(os.listdir(source)) == ["empty", "mark"]
