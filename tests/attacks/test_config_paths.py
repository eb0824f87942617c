"""Paths that an image names, or is looked at by: working directories, volumes, files that are put into its /etc."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from rootless.runtime.delete import delete_tree
from tests.attacks.test_host_secrets import leaked  # noqa: F401  (a fixture)
from tests.support import bundles, hostile
from tests.support.canary import Canary
from tests.support.cli import Cli
from tests.support.figures import amount
from tests.support.hostile import CASES, Image
from tests.support.layers import Item, file, symlink
from tests.support.matrix import User

pytestmark = pytest.mark.needs("userns", "busybox")
NONE = "--network=none"
INJECTED = ("etc/hosts", "etc/hostname", "etc/resolv.conf", "etc/mtab", "etc/passwd", "etc/group",
            "run/.containerenv", "etc/localtime")  # fmt: skip
"""What a start puts into a container, or looks at there."""
KINDS = ("absolute", "climbing", "dangling", "loop")


def target(kind: str, canary: str, name: str) -> str:
    """What an image's link at ``name`` leads to."""
    known = name if name in ("etc/hosts", "etc/passwd", "etc/group") else "victim"
    up = "../" * 20 + canary.lstrip("/")
    return {
        "absolute": f"{canary}/{known}", "climbing": f"{up}/{known}", "dangling": f"{canary}/new", "loop": f"/{name}",
    }[kind]  # fmt: skip


def hostile_images(canary: str) -> dict[str, Image]:
    """All of them by name."""
    made: dict[str, Image] = {}
    up = "../" * 20 + canary.lstrip("/")
    for kind in KINDS:
        gone = [file(f"etc/.wh.{name}") for name in ("passwd", "group")]
        made[kind] = Image([gone, [symlink(name, target(kind, canary, name)) for name in INJECTED]])
    links: list[Item] = [
        symlink("a", canary), symlink("up", up), symlink("fd", "/proc/self/fd"), symlink("root", "/proc/1/root"),
        symlink("cwd", "/proc/self/cwd"),
    ]  # fmt: skip
    places = {"link": "/a/b/c", "climb": "/up/made", "dots": "/../../a/b", "below": f"/a/../{up}/dotted"}
    made |= {f"workdir-{name}": Image([links], {"WorkingDir": path}) for name, path in places.items()}
    made |= {
        f"workdir-fd-{number}": Image([links], {"WorkingDir": f"/proc/self/fd/{number}"}) for number in (3, 8, 200)
    }
    made["links"] = Image([links], {"WorkingDir": "/"})
    keys = ("/../../a/x", "/up/y", "relative", "/a/dir", "/..", "", "/a/file", f"/{'../' * 30}tmp", "/root/etc")
    made |= {f"volume-{number}": Image([links], {"Volumes": {key: {}}}) for number, key in enumerate(keys)}
    return made


@pytest.fixture(scope="module")
def canary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Canary]:
    """One for all images."""
    made = Canary(tmp_path_factory.mktemp("outside") / "canary")
    yield made
    made.check()


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory, canary: Canary) -> Path:
    """An OCI image layout of all images."""
    return hostile.write_layout(tmp_path_factory.mktemp("paths") / "layout", hostile_images(str(canary)))


@pytest.fixture(scope="module", params=CASES, ids="-".join)
def user(request: pytest.FixtureRequest, layout: Path, canary: Canary) -> Iterator[User]:
    """Each kind of user with each driver; all images in the first case."""
    every = list(hostile_images(str(canary)))
    names = every if request.param == CASES[0] else ["links", "absolute", "dangling", "workdir-link", "volume-0"]
    with hostile.stored(request.param, layout, names) as made:
        yield made


def images_of(user: User, canary: Canary, kind: str) -> list[str]:
    """The names of the user's images that begin so."""
    known = user.ok("images", "--format", "{{.Repository}}")
    return [name for name in hostile_images(str(canary)) if name.startswith(kind) and f"localhost/{name}\n" in known]


def test_working_directory_by_a_descriptor_row_21(user: User, canary: Canary, leaked: range) -> None:  # noqa: F811
    """CVE-2024-21626: directories of the host are open in the caller; by the image, by run and by exec."""

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            user.command(*words), env=user.environment, pass_fds=leaked, capture_output=True, text=True, check=False,
            timeout=60,
        )  # fmt: skip

    for image in images_of(user, canary, "workdir-fd"):
        done = run("run", "--rm", NONE, f"localhost/{image}", "ls")
        assert done.returncode in (125, 126, 127) and done.stdout == "", (image, done)
    name = user.ok("run", "-d", NONE, "localhost/links", "sleep", "100").strip()
    numbers = [*range(3, 65)] if (user.kind.name, user.driver) == CASES[0] else [3, 4, 5, 6, 8, 64]
    try:
        for number in numbers if user.kind.ranged else ():  # a host without ranges is made anew for each command
            paths = (f"/proc/self/fd/{number}", f"/fd/{number}", f"/proc/1/fd/{number}/..")
            for path in paths if amount(0, 1) else (paths[number % 3],):
                done = run("exec", "-w", path, name, "ls")
                assert done.returncode in (126, 127) and done.stdout == "", (path, done)
        for path in ("/proc/self/cwd", "/cwd", "/root/../.."):
            assert "victim" not in run("exec", "-w", path, name, "ls").stdout
        for number in (3, 4, 5, 8, 64):
            done = run("run", "--rm", NONE, "-w", f"/fd/{number}", "localhost/links", "ls")
            assert done.returncode in (125, 126, 127) and done.stdout == "", done
    finally:
        user.ok("rm", "-f", "-t", "0", name)


def test_working_directory_is_made_inside_row_22(user: User, canary: Canary) -> None:
    """CVE-2026-55686: a directory that is missing is made where the image's links lead inside of it."""
    seen = {}
    for image in images_of(user, canary, "workdir-"):
        if "fd" not in image:
            flags = ("--user=1000",) if user.kind.ranged else ()
            script = "pwd -P; stat -c %u .; ls -A . | wc -l"
            seen[image] = user.ok("run", "--rm", NONE, *flags, f"localhost/{image}", "sh", "-c", script).split()
    owner = "1000" if user.kind.ranged else "0"
    assert seen.pop("workdir-link") == [f"{canary}/b/c", owner, "0"]
    assert all(found[1:] == [owner, "0"] for found in seen.values()), seen
    canary.check()


def test_volumes_of_the_image_are_inside_row_23(user: User, canary: Canary) -> None:
    """CVE-2022-23648: what is copied into a volume is the image's, and where it is mounted is inside; or refused."""
    places = "$(grep volumes /proc/mounts | cut -d ' ' -f 2)"
    script = f"cat /proc/mounts; find / -xdev -name victim; for d in {places}; do ls -A $d; touch $d/made; done"
    for image in images_of(user, canary, "volume-"):
        for flags in ((), ("--image-volume=tmpfs",)):
            done = user.run("run", "--rm", NONE, *flags, f"localhost/{image}", "sh", "-c", script)
            assert done.returncode in (0, 1, 125), (image, done)
            assert "Traceback" not in done.stderr and "victim" not in done.stdout, (image, done)
            assert done.returncode == 125 or "/proc" in done.stdout
        canary.check()
    assert user.ok("volume", "ls", "-q") == ""


def test_files_that_are_put_in_are_inside_row_27(user: User, canary: Canary) -> None:
    """CVE-2024-5154, CVE-2024-9341: each of eight is a link of the image; written through, it changes nothing here."""
    for image in images_of(user, canary, ""):
        if image not in KINDS:
            continue
        look = "".join(f"cat /{name} 2>/dev/null; echo from-inside 2>/dev/null >>/{name}; " for name in INJECTED)
        flags = ("--add-host=box:1.2.3.4", "--hostname=box", "--dns=1.2.3.4", "--tz=UTC", "--env=A=b")
        for more in ((), ("--user=77:78",)) if user.kind.ranged else ((),):
            done = user.run("run", "--rm", NONE, *flags, *more, f"localhost/{image}", "sh", "-c", look + "true")
            assert done.returncode in (0, 125), (image, done)
            assert "canary" not in done.stdout and "Traceback" not in done.stderr, (image, done)
            # A link that leads nowhere is a reason to refuse; one that leads somewhere has its place inside.
            assert done.returncode == 0 or image == "loop", (image, done)
        canary.check()


def test_etc_that_is_a_link_row_27(shared_cli: Cli, canary: Canary, tmp_path: Path) -> None:
    """The directory itself, in a root of the user's own, which is changed in place."""
    root = bundles.make_root(tmp_path / "root")
    (root / "etc").rename(root / "etc.image")
    for name in ("etc", "run"):
        (root / name).symlink_to(canary.root / "etc")
    look = "cat /etc/*; echo x >>/etc/hosts; echo x >/etc/new; cat /etc/hosts"
    run = ("run", "--rm", NONE, "--add-host=box:1.2.3.4", "--user=77", "--rootfs", str(root))
    try:
        done = shared_cli.run(*run, "sh", "-c", look)
        assert "canary" not in done.stdout and done.returncode in (0, 1, 125), done
        canary.check()
    finally:
        delete_tree(str(root))
