"""Containers of a user without subordinate ids: chown succeeds, and who a file belongs to is known afterwards."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from rootless.idmaps import IdMap
from rootless.init.keeper import is_needed
from tests.support import images
from tests.support.alone import Alone
from tests.support.canary import Canary
from tests.support.cli import new_cli
from tests.support.copying import IMAGE, NONE, bytes_of, members
from tests.support.drivers import DRIVERS
from tests.support.layers import archive, device, directory, file

pytestmark = pytest.mark.needs("userns", "busybox")

MAIN = "rootless inspect -f '{{.State.ConmonPid}}' c"

GIVE = """
    cd /srv; mkdir d e; echo f > f; ln -s f l; mkfifo p
    chown 5:6 d; chown 1000:50 f; chown -h 7:8 l; chown 9:10 p; chown 11:12 ./e/../e; chown 13:14 second-layer
    chown 0:0 /home/user/file; chown 15:16 /tmp; chown 4294967294:70000 /root
"""
GIVEN = {
    "srv/d": (5, 6), "srv/f": (1000, 50), "srv/l": (7, 8), "srv/p": (9, 10), "srv/e": (11, 12),
    "srv/second-layer": (13, 14), "home/user/file": (0, 0), "home/user": (1000, 1000), "tmp": (15, 16),
    "root": (4294967294, 70000), "srv": (0, 0), "bin/busybox": (0, 0),
}  # fmt: skip


def owners(found: dict[str, tarfile.TarInfo]) -> dict[str, tuple[int, int]]:
    """(user, group) of those members that `GIVEN` names."""
    return {name: (found[name].uid, found[name].gid) for name in GIVEN}


@pytest.mark.parametrize("driver", DRIVERS)
def test_owners_are_remembered(alone: Alone, driver: str) -> None:
    alone.driver = ["--storage-driver", driver]
    alone.ok("run", NONE, "--name", "c", IMAGE, "sh", "-ec", GIVE)
    assert owners(members(bytes_of(alone, "export", "c"))) == GIVEN
    changed = alone.ok("diff", "c").split("\n")
    assert {"C /srv/second-layer", "C /tmp", "C /root", "C /home/user/file", "A /srv/l"} <= set(changed)
    assert "C /bin/busybox" not in changed
    alone.ok("commit", "--quiet", "c", "given")
    alone.ok("create", NONE, "--name", "again", "given")
    assert owners(members(bytes_of(alone, "export", "again"))) == GIVEN


@pytest.mark.parametrize("driver", DRIVERS)
def test_an_owner_that_is_given_anew_is_no_change(alone: Alone, driver: str) -> None:
    alone.driver = ["--storage-driver", driver]
    alone.ok("run", NONE, "--name", "c", IMAGE, "chown", "1000:1000", "/home/user")
    assert "C /home/user\n" not in alone.ok("diff", "c")
    alone.ok("run", NONE, "--name", "d", IMAGE, "chown", "1000:1001", "/home/user")
    assert "C /home/user\n" in alone.ok("diff", "d")


@pytest.mark.parametrize("driver", DRIVERS)
def test_what_an_image_has_comes_out_of_its_containers(alone: Alone, driver: str, tmp_path: Path) -> None:
    """Owners, set-id bits, devices and attributes, of files that were changed too; ids that no range has."""
    capability = bytes.fromhex("0100000200200000000000000000000000000000")
    entries = [
        directory("x"), file("x/su", "su", 0o4755, uid=33, gid=34), device("x/null", "c", 1, 3, 0o622),
        device("x/disk", "b", 8, 1, 0o660), directory("x/spool", 0o3730, uid=3, gid=172761424),
        file("x/ping", "ping", 0o755, xattrs={"security.capability": capability, "trusted.note": b"note"}),
        file("x/kept", "kept", 0o600, uid=172761424), directory("x/closed", 0o700, uid=3, gid=4),
        file("x/read", "read", 0o644, uid=5, gid=6), file("x/moved", "moved", 0o640, uid=7, gid=8),
        file("x/replaced", "replaced", 0o600, uid=13, gid=14),
    ]  # fmt: skip
    layout = images.Layout(tmp_path / "layout")
    parts = [layout.add_layer(images.busybox_tar()), layout.add_layer(archive(entries))]
    layout.add_image("owned", parts, {"Cmd": ["sh"]})
    alone.driver = ["--storage-driver", driver]
    image = alone.ok("pull", "--quiet", f"oci:{tmp_path}/layout:owned").strip()
    change = "touch /x/su /x/ping; echo more >> /x/kept; mkdir /x/spool/d; chmod 750 /x/closed; chmod 444 /x/read"
    change += "; mv /x/moved /x/elsewhere; rm /x/replaced; touch /x/replaced"
    alone.ok("run", NONE, "--name", "c", image, "sh", "-c", change)
    alone.ok("commit", "--quiet", "c", "given")
    alone.ok("create", NONE, "--name", "again", "given")
    for name in ("c", "again"):
        found = members(bytes_of(alone, "export", name))
        seen = {item.name: (item.type, item.mode, item.uid, item.gid) for item in found.values()}
        assert seen["x/su"] == (tarfile.REGTYPE, 0o4755, 33, 34)
        assert seen["x/null"] == (tarfile.CHRTYPE, 0o622, 0, 0)
        assert seen["x/disk"] == (tarfile.BLKTYPE, 0o660, 0, 0)
        assert (found["x/disk"].devmajor, found["x/disk"].devminor) == (8, 1)
        # fuse-overlayfs loses the set-group-ID bit of a directory that it copies.
        assert seen["x/spool"] == (tarfile.DIRTYPE, 0o3730 if driver != "fuse-overlayfs" else 0o1730, 3, 172761424)
        assert seen["x/closed"] == (tarfile.DIRTYPE, 0o750, 3, 4)
        assert seen["x/read"] == (tarfile.REGTYPE, 0o444, 5, 6)
        assert seen["x/elsewhere"] == (tarfile.REGTYPE, 0o640, 7, 8)
        assert seen["x/replaced"] == (tarfile.REGTYPE, 0o644, 0, 0)
        assert seen["x/kept"] == (tarfile.REGTYPE, 0o600, 172761424, 0)
        assert found["x/kept"].size == len("kept" "more\n")
        attributes = found["x/ping"].pax_headers
        assert attributes["SCHILY.xattr.security.capability"].encode("utf-8", "surrogateescape") == capability
        assert attributes["SCHILY.xattr.trusted.note"] == "note"


def test_where_files_have_no_attributes(busybox_layout: Path, tmp_path: Path) -> None:
    """A home as on NFS: all owners are in the sidecar, and survive that a file is renamed."""
    with new_cli() as made:
        store = made.home / "data"
        user = Alone(made.home, "copy", ramfs=(store,))
        script = f"""
            image=$(rootless pull --quiet oci:{busybox_layout}:latest)
            rootless run {NONE} --name c $image sh -ec '{GIVE} mv f g; mv g f'
            rootless export c > {tmp_path}/c.tar
            test -s {store}/rootless/containers/*/owners
        """
        user.script(script)
        assert owners(members((tmp_path / "c.tar").read_bytes())) == GIVEN


def test_a_program_is_told_the_ids_that_it_has_set(alone: Alone) -> None:
    run = ("run", "--rm", NONE, IMAGE)
    assert alone.ok(*run, "su", "user", "-c", "id -u; id -g; sh -c 'id -u'; true").split() == ["1000", "1000", "1000"]
    assert alone.ok(*run, "sh", "-c", "su user -c true; id -u") == "0\n"
    refused = "touch /srv/f; su user -c 'chown 5 /srv/f || chown 1000:1000 /srv/f && su root -c id || echo refused'"
    assert alone.ok(*run, "sh", "-c", refused) == "refused\n"


def test_what_is_asked_for_holds(alone: Alone) -> None:
    """A dropped capability, a read-only root, another user, and errors that are the file's own."""
    assert "not permitted" in alone.fails(1, "run", "--rm", NONE, "--cap-drop", "chown", IMAGE, "chown", "5", "/srv")
    dropped = ("--cap-drop", "setuid,setgid")
    assert alone.run("run", "--rm", NONE, *dropped, IMAGE, "su", "user", "-c", "id").returncode != 0
    assert "Read-only" in alone.fails(1, "run", "--rm", NONE, "--read-only", IMAGE, "chown", "5", "/srv")
    assert "subordinate ids" in alone.fails(126, "run", "--rm", NONE, "--user", "1000", IMAGE, "true")
    assert "No such file" in alone.fails(1, "run", "--rm", NONE, IMAGE, "chown", "5", "/srv/none")
    assert "not permitted" in alone.fails(1, "run", "--rm", NONE, IMAGE, "chown", "5", "/dev/null")
    kept = ("run", "--rm", NONE, "--userns", "keep-id", "--tmpfs", "/tmp", IMAGE)
    assert "Invalid" in alone.fails(1, *kept, "sh", "-c", "touch /tmp/f; chown 5 /tmp/f")


@pytest.mark.parametrize("options", ["--init", "--security-opt=seccomp=unconfined", "--security-opt=no-new-privileges",
                                     "--hardened", "-t", "--pid=host"])  # fmt: skip
def test_with_other_options(alone: Alone, options: str) -> None:
    alone.ok("run", NONE, "--name", "c", options, IMAGE, "chown", "-R", "5:6", "/srv")
    assert members(bytes_of(alone, "export", "c"))["srv"].uid == 5


def test_streams_are_given_away(alone: Alone) -> None:
    """As the start scripts of many images do it."""
    script = "chown 5 /dev/stdout; chown 5 /proc/self/fd/1; chown 5 /dev/fd/1; echo done"
    assert alone.ok("run", "--rm", NONE, IMAGE, "sh", "-ec", script) == "done\n"


def test_exec_and_restart(alone: Alone, tmp_path: Path) -> None:
    script = f"""
        rootless run -d {NONE} --name c {IMAGE} sleep 1000 > /dev/null
        rootless exec c sh -c 'echo > /srv/f; chown 5:6 /srv/f; su user -c "id -u"'
        rootless restart -t0 c > /dev/null
        rootless exec c chown 7:8 /srv/second-layer
        rootless export c > {tmp_path}/c.tar
        main=$({MAIN}); pgrep -x keeper -P $main > {tmp_path}/keeper
        rootless rm -f -t0 c > /dev/null
        while kill -0 $(cat {tmp_path}/keeper) 2> /dev/null; do sleep 0.05; done
    """
    assert alone.script(script) == "1000\n"
    found = members((tmp_path / "c.tar").read_bytes())
    assert (found["srv/f"].uid, found["srv/f"].gid, found["srv/second-layer"].gid) == (5, 6, 8)


def test_a_keeper_that_was_killed(alone: Alone) -> None:
    """Calls fail or succeed, but none waits; nothing that was remembered is lost."""
    script = f"""
        rootless run -d {NONE} --name c {IMAGE} sh -c 'chown 5:6 /srv; while ! test -e /go; do sleep 0.1; done
            chown 7:8 /srv; echo $? > /code; sleep 1000' > /dev/null
        while ! rootless diff c | grep -q srv; do sleep 0.1; done
        main=$({MAIN}); kill -9 $(pgrep -x keeper -P $main)
        rootless exec c touch /go
        while ! rootless exec c test -s /code; do sleep 0.1; done
        rootless exec c cat /code
        rootless exec c sh -c 'chown 9:10 /srv; echo $?; id -u'
        rootless export c | tar -t --numeric-owner -v -f - srv | head -1 | awk '{{ print $2 }}'
        rootless rm -f -t0 c > /dev/null
    """
    assert alone.script(script) == "1\n0\n0\n5/6\n"


def test_nothing_outside_is_reached(alone: Alone, canary: Canary) -> None:
    """Links, parents and roots that lead out of the container, also while they are exchanged.

    All paths are there in the container too, as programs look before they call.
    """
    outside = canary.root
    script = f"""
        for top in / /jail/; do mkdir -p $top{outside}/dir; touch $top{outside}/file; done
        ln -s {outside} /link; ln -s /proc/1/root /root1; cd /srv
        for path in {outside} /link/file /root1{outside}/file ../../../../..{outside} /proc/self/root{outside}/file \
            /proc/1/cwd{outside} /proc/self/fd/0/../../..; do
            chown 5 $path 2>/dev/null; chown -h 5 $path 2>/dev/null
        done
        mkdir -p /jail/bin; cp /bin/busybox /jail/bin/; ln -s ../../../..{outside} /jail/up
        chroot /jail /bin/busybox chown -R 5 /up ../../..{outside} 2>/dev/null
        mkdir -p /a/b; cd /a/b; mv /a/b /b; chown -R 5 ../../../..{outside} 2>/dev/null
        (while :; do ln -sfn {outside} /swap; rm -f /swap; mkdir /swap; touch /swap/file; rm -r /swap; done) &
        for i in $(seq 200); do chown 5 /swap/file 2>/dev/null; done
        kill $!; exit 0
    """
    for options in ([], ["--pid=host"]):
        alone.ok("run", "--rm", NONE, *options, IMAGE, "sh", "-c", script)
        canary.check()


def test_only_who_is_alone_has_a_keeper() -> None:
    assert is_needed(IdMap([(0, 1000, 1)], [(0, 1000, 1)]))
    assert not is_needed(IdMap([(1000, 1000, 1)], [(1000, 1000, 1)]))
    assert not is_needed(IdMap([(0, 1000, 1), (1, 100000, 65536)], [(0, 1000, 1), (1, 100000, 65536)]))
