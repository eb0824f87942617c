"""Hostile Containerfiles and images against RUN: its mounts, its working directory and user, and what it leaves."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from rootless.build.run import mounts
from rootless.errors import UsageError
from rootless.init.within import Within
from rootless.linux.mountapi import MOUNT_ATTR_RDONLY
from tests.support.building import build, built, config, layers, names, refused
from tests.support.canary import TEXT, Canary
from tests.support.cli import Cli, new_cli
from tests.support.drivers import DRIVERS
from tests.support.exchanges import exchanging
from tests.support.figures import NIGHTLY, Tell, amount
from tests.support.stage import DECOY, INSIDE, Race, run

pytestmark = [pytest.mark.needs("userns", "subuid", "newuidmap", "busybox"), pytest.mark.timeout(1800)]
ROUNDS = amount(200, 1000)
BUILDS = amount(3, 200)
SECRET = "it-is-nobodys-business-0123456789"


@pytest.fixture(scope="module")
def cli(busybox_layout: Path) -> Iterator[Cli]:
    """A store of its own: it is searched for what must not be there."""
    with new_cli() as user:
        user.ok("tag", user.ok("pull", "--quiet", f"oci:{busybox_layout}:latest").strip(), "localhost/busybox")
        yield user


def escaped(text: str) -> bool:
    """Whether the content of a file of the canary is in it; its path may be."""
    return any(f"{TEXT.decode()}{name}" in text for name in ("file", "dir/", "etc/", "victim"))


@pytest.mark.parametrize("driver", DRIVERS)
def test_links_of_an_image_as_sources_row_73(driver: str, cli: Cli, context: Path, canary: Canary) -> None:
    """They lead to what is there in that image; so do those of a context."""
    (context / "out").symlink_to(canary.root)
    (context / "up").symlink_to("../../../../../../../../../..")
    text = f"""\
RUN ln -s / /link; ln -s {canary} /out; ln -s ../../../../../../../../.. /up; ln -s /proc/self/root /magic; \
    ln -s /proc/1/cwd /cwd; echo mine > /mine
RUN echo second > /second
FROM localhost/busybox
RUN --mount=from=0,source=link,target=/m --mount=from=0,source=/up,target=/n,rw cat /m/mine /n/mine /n/second
RUN --mount=from=0,source=link/../../../../mine,target=/m cat /m
RUN --mount=type=cache,from=0,source=/up/up,target=/m,id={driver} cat /m/mine
RUN --mount=source=up,target=/m --mount=source=../../..,target=/n ls -A /m /n
"""
    done = build(cli, context, text, "--no-cache", env={"STORAGE_DRIVER": driver})
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("mine\n") >= 4 and "/m:\nout\nup\n\n/n:\nout\nup\n" in done.stdout
    outside = ("from=0,source=out", "from=0,source=out/file", "source=out/dir/file")
    for source in outside if driver == "overlay" else outside[:1]:
        for mount in (f"{source},target=/m", f"{source},target=/m,rw"):
            words = f"{text.partition('FROM')[0]}FROM localhost/busybox\nRUN --mount={mount} cat /m /m/* || true\n"
            said = build(cli, context, words, env={"STORAGE_DRIVER": driver})
            assert said.returncode != 0 and "Traceback" not in said.stderr, mount
            assert not escaped(said.stdout + said.stderr)
    for source in ("magic", "magic/etc", "cwd") if driver == "overlay" else ("magic/etc",):
        mount = f"from=0,source={source},target=/m"
        words = f"{text.partition('FROM')[0]}FROM localhost/busybox\nRUN --mount={mount} ls /m\n"
        assert build(cli, context, words, env={"STORAGE_DRIVER": driver}).returncode != 0


BAD_MOUNTS = [
    "type=bind,target=/m,bind-propagation=../", "type=bind,target=/m,bind-propagation=shared",
    "type=bind,target=/m,bind-propagation=rshared,suid", "type=cache,target=/m,id=../../x",
    "type=cache,target=/m,id=..", "type=cache,target=/m,id=a/../../b",
    "type=cache,target=..", "type=bind,target=..", "target=/", "target=/../..",
    "type=cache,target=/proc/self", "type=tmpfs,target=/proc", "type=tmpfs,target=/m,size=-1", "type=secret,id=../x",
    "type=tmpfs,target=/m,mode=99999", "type=cache,target=/m,uid=-1", "type=cache,target=/m,uid=4294967295",
    "type=cache,target=/m,sharing=../x", "type=devpts,target=/m",
    "type=bind,source=/etc,target=/m,idmap", "type=overlay,target=/m,lowerdir=/etc", "type=image,source=x,target=/m",
    "type=bind,target=/m,upperdir=/tmp,workdir=/tmp", "type=tmpfs,target=/m,tmpcopyup=x,size=1m,context=x", "type=bind",
    "type=secret,id=x,env=A=B,required", "type=ssh,id=..,required", "type=bind,target=/m,target", "",
]  # fmt: skip


UNKNOWN_ID = "type=cache,target=/m,uid=2147483647"


@pytest.mark.parametrize("mount", BAD_MOUNTS, ids=lambda mount: f"{mount.replace('/', '|')}_row_74")
def test_options_that_mean_nothing(mount: str) -> None:
    with pytest.raises(UsageError):
        mounts.parse(mount, "/")


@pytest.mark.parametrize("mount", [*(BAD_MOUNTS if NIGHTLY else BAD_MOUNTS[::6]), UNKNOWN_ID],
                         ids=lambda mount: f"{mount.replace('/', '|')}_row_74")  # fmt: skip
def test_options_that_are_refused(mount: str, cli: Cli, context: Path) -> None:
    before = sorted(os.listdir(cli.data))
    said = refused(cli, context, f"RUN --mount={mount} true")
    assert "Error:" in said and len(said) < 2000
    assert sorted(os.listdir(cli.data)) == before


def test_targets_stay_inside_row_74(cli: Cli, context: Path, canary: Canary) -> None:
    """Through links of the image, too: what is made for a mount is made in the container."""
    said = built(cli, context, f"""\
RUN ln -s {canary} /out; ln -s {canary}/new /dangling; ln -s ../../../../../..{canary}/dir /up; mkdir -p {canary}/dir
WORKDIR /a/b
RUN --mount=type=cache,target=/out/made --mount=type=tmpfs,target=/dangling \
    --mount=type=secret,id=s,target=/out/secret --mount=type=cache,target=/up/file,id=c \
    --mount=type=tmpfs,target=../../../../x ls -d {canary}/* /x
""", "--no-cache", "--secret", "id=s,env=S", "-t", "targets", env={"S": SECRET})  # fmt: skip
    for name in ("made", "new", "secret"):
        assert f"{canary}/{name}\n" in said
    assert not names(cli, "targets")


class Sources(Race):
    """What a bind mount of a build finds in a directory while names in it change places."""

    kinds = ("overlay",)

    def step(self) -> None:
        for name, target in (("file", "/etc/mounted"), ("dir", "/run/mounted")):
            path = f"{self.stage.place}/d/{name}"
            mount = Within("the build context", [self.stage.merged], path, target, attributes=MOUNT_ATTR_RDONLY)
            mount.open(self.stage.site)
            mount.apply(self.stage.site)

    def judge(self, refused: bool) -> Iterable[str]:
        found = set()
        for point in self.stage.new_mounts():
            found.add(self.stage.read(point if os.path.isfile(point) else f"{point}/file"))
        self.stage.take_mounts(2, refused)
        return found


@pytest.mark.needs("overlay")
def test_exchanged_sources_row_75(canary: Canary, figure: Tell) -> None:
    """Nothing outside is mounted, and both of what changes places was met."""
    with tempfile.TemporaryDirectory(prefix="races-", dir="/var/tmp", ignore_cleanup_errors=True) as scratch:
        result = run(Sources, "overlay", Path(scratch) / "stage", canary, ROUNDS, amount(120, 1200))
    assert not result.escaped
    assert min(result.led.get(INSIDE, 0), result.led.get(DECOY, 0)) > ROUNDS // 50, result.led
    figure("rounds of exchanged sources of a build's mounts that escaped", "= 0", len(result.escaped), of=result.rounds)


def test_builds_that_exchange_directories_of_a_cache_row_75(cli: Cli, context: Path, canary: Canary) -> None:
    """One exchanges a directory of a cache with a link to the host, and the user one of the context, while others use
    both."""
    (context / "d" / "dir").mkdir(parents=True)
    (context / "d" / "dir" / "file").write_text("inside\n")
    (context / "l").symlink_to(canary.root)
    attacker = context.parent / "attacker.Containerfile"
    attacker.write_text(f"""\
FROM localhost/busybox
RUN --mount=type=cache,target=/c,id=shared mkdir -p /c/d/dir; echo inside > /c/d/dir/file; ln -sfn {canary} /c/l; \
    echo ready; while :; do mv -T /c/d /c/x; mv -T /c/l /c/d; mv -T /c/d /c/l; mv -T /c/x /c/d; done
""")  # fmt: skip
    running = cli.popen("build", "--network=none", "--no-cache", "-f", str(attacker), str(context))
    assert running.stdout is not None
    try:
        assert any(line == b"ready\n" for line in running.stdout)
        with exchanging(context, "d", "l"):
            for number in range(BUILDS):
                text = f"""\
RUN --mount=type=cache,target=/c,id=shared --mount=source=d/dir/file,target=/m{number} \
    cat /c/d/dir/file /c/d/file /m{number} 2> /dev/null; echo mine > /c/d/dir/made; true
"""
                done = build(cli, context, text, "--no-cache")
                assert not escaped(done.stdout + done.stderr)
                assert "Traceback" not in done.stderr
    finally:
        running.kill()
        running.communicate(timeout=60)


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_mount_point_replaced_by_a_link_row_77(driver: str, cli: Cli, context: Path, canary: Canary) -> None:
    """What was made for mounts is left out of the layer by its path; nothing is deleted through what stands there."""
    (context / "kept").write_text("as it was\n")
    text = f"""\
RUN --mount=type=cache,target=/a/below/dir --mount=target=/b/dir,rw --mount=type=secret,id=s,target=/d/file \
    mv /a /moved && ln -s {canary} /a && mv /b /other && ln -s / /b && mv /d /third && ln -s {canary}/dir /d; \
    echo changed > /other/dir/kept; rm /other/dir/Containerfile; echo new > /other/dir/new; ls /other/dir
"""
    done = build(cli, context, text, "--no-cache", "-t", "replaced", "--secret", "id=s,env=S",
                 env={"STORAGE_DRIVER": driver, "S": SECRET})  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "kept\nnew\n" in done.stdout
    assert (context / "kept").read_text() == "as it was\n" and os.listdir(context) == ["kept"]
    found = {member.name: member for member in layers(cli, "replaced")[-1]}
    assert found["a"].issym() and found["a"].linkname == str(canary) and found["b"].issym() and found["d"].issym()
    for name in ("moved/below/dir", "other/dir"):
        assert found[name].isdir() and not [other for other in found if other.startswith(f"{name}/")]
    assert found["third/file"].size == 0


def test_what_is_written_to_a_bind_is_discarded_row_77(cli: Cli, context: Path) -> None:
    (context / "file").write_text("as it was\n")
    (context / "directory").mkdir()
    text = """\
RUN echo of the stage > /file
FROM localhost/busybox
RUN --mount=target=/m,rw --mount=from=0,target=/s,rw --mount=source=file,target=/f,rw \
    rm -r /m/directory /s/file; echo x > /m/file; echo x > /f; mkdir /s/new
RUN --mount=target=/m --mount=from=0,target=/s cat /m/file /s/file; ls -d /m/directory; ! ls -d /s/new 2> /dev/null
"""
    assert "as it was\nof the stage\n/m/directory\n" in built(cli, context, text, "--no-cache", "-t", "discarded")
    assert (context / "file").read_text() == "as it was\n"
    assert not names(cli, "discarded", -2)


@pytest.mark.parametrize("number", range(3, 65) if NIGHTLY else (3, 5, 8, 12, 20, 64))
def test_working_directory_in_a_descriptor_row_21(number: int, cli: Cli, context: Path) -> None:
    said = refused(cli, context, f"WORKDIR /proc/self/fd/{number}\nRUN ls ../../../../..")
    assert "Error:" in said
    link = f"RUN ln -s /proc/self/fd/{number} /link"
    assert "Error:" in refused(cli, context, f"{link}\nWORKDIR /link/..\nWORKDIR /link\nRUN pwd; ls ..")


def test_working_directory_through_a_link_row_22(cli: Cli, context: Path, canary: Canary) -> None:
    """It is made inside, and belongs to the user inside."""
    said = built(cli, context, f"""\
RUN ln -s {canary} /a; ln -s ../../../../../../..{canary}/dir /up
USER 5
WORKDIR /a/b/c
RUN touch /a/b/c/file; pwd -P
WORKDIR /up/new
RUN pwd -P
""", "--no-cache")  # fmt: skip
    assert f"{canary}/b/c\n{canary}/dir/new\n" in "".join(line + "\n" for line in said.splitlines() if "/" in line[:1])


@pytest.mark.parametrize("user", ["4294967296", "-1", "2147483648", "0x0", "nobody-of-that-name", "1:", ":0", "1 2"])
def test_users_that_mean_nobody_rows_21_22(user: str, cli: Cli, context: Path) -> None:
    """None becomes root."""
    done = build(cli, context, f"USER {user}\nRUN id -u > /tmp/uid; cat /tmp/uid", "--no-cache")
    assert done.returncode != 0 and "Traceback" not in done.stderr


def test_secrets_are_nowhere_row_77(cli: Cli, context: Path) -> None:
    """In no layer, history or record of the cache, in no words of a process, in no log: nowhere in the store."""
    text = """\
RUN --mount=type=secret,id=s --mount=type=secret,id=s,env=THE_SECRET --mount=type=secret,id=f,target=/etc/f \
    test "$THE_SECRET" = "$(cat /run/secrets/s)" && cat /etc/f > /dev/null && echo started && sleep 3
RUN find / -xdev -name 's' -path '*secrets*'; env
"""
    file = context.parent / "secrets.Containerfile"
    file.write_text(f"FROM localhost/busybox\n{text}")
    (context.parent / "secret").write_text(SECRET)
    flags = ("--secret", "id=s,env=S", "--secret", f"id=f,src={context.parent}/secret")
    cli.environment["S"] = SECRET
    try:
        words = ("--debug", "build", "--network=none", "-t", "secrets", *flags, "-f", str(file), str(context))
        running = cli.popen(*words)
    finally:
        del cli.environment["S"]
    assert running.stdout is not None
    for line in running.stdout:
        if line == b"started\n":
            break
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            assert SECRET.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
    assert holding(cli.home, SECRET.encode()) == []
    said, errors = running.communicate(timeout=120)
    assert running.returncode == 0, errors
    assert SECRET.encode() not in said + errors
    assert holding(cli.home, SECRET.encode()) == []
    assert SECRET not in str(config(cli, "secrets")) and not names(cli, "secrets")
    for layer in layers(cli, "secrets"):
        assert not [member.name for member in layer if "secrets" in member.name]


def holding(root: Path, text: bytes) -> list[str]:
    """Files below ``root`` that hold a text, in the open or compressed as a layer is."""
    import gzip

    found = []
    for directory, _, files in os.walk(root):
        for name in files:
            path = Path(directory, name)
            try:
                data = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
            except OSError:
                continue
            if data.startswith(b"\x1f\x8b"):
                data = gzip.decompress(data)
            if text in data:
                found.append(str(path))
    return found
