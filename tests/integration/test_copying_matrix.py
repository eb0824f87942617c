"""diff, cp, commit and export for every kind of user on every storage driver: owners are what the image says."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import matrix
from tests.support.copying import bytes_of, members
from tests.support.fixtures import require
from tests.support.matrix import USERS, User

IMAGE = "localhost/special"
NONE = "--network=none"
DRIVERS = ["overlay", "fuse-overlayfs", "copy"]

pytestmark = pytest.mark.needs("userns", "busybox")


def _of_root(name: str) -> object:
    return pytest.param(name, marks=pytest.mark.as_root) if USERS[name].root else name


@pytest.fixture(scope="module")
def special(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the image's layout, open to all."""
    target = matrix.layout(tmp_path_factory.mktemp("special") / "layout")
    for directory in [target, *target.parents[:3]]:
        if directory.stat().st_uid == os.getuid():
            directory.chmod(0o755)
    return target


@pytest.fixture(scope="module", params=[_of_root(name) for name in USERS])
def owner(request: pytest.FixtureRequest, special: Path) -> Iterator[User]:
    """Each kind of user, with the image in a store that all drivers share."""
    kind = USERS[request.param]
    if kind.ranged and not kind.root:
        require("subuid", "newuidmap")
    with matrix.new_user(kind) as made:
        made.ok("tag", made.ok("pull", "--quiet", f"oci:{special}:special").strip(), IMAGE)
        yield made


@pytest.fixture(params=DRIVERS)
def user(request: pytest.FixtureRequest, owner: User) -> Iterator[User]:
    """The user with one driver; the test leaves nothing behind in the store."""
    if request.param != "copy":
        require(*({"overlay": ["overlay"], "fuse-overlayfs": ["fuse", "fuse-overlayfs"]}[request.param]))
    owner.driver = request.param
    yield owner
    owner.ok("rm", "-af", "-t0")
    owner.ok("image", "prune", "-f")
    assert owner.leftovers() == []
    assert owner.ok("system", "check") == ""
    owner.driver = ""


def test_a_container_through_everything(user: User) -> None:
    script = "echo more >> /data/kept; rm /data/one; echo own > /srv/web/own; echo page2 >> /srv/web/page"
    user.ok("run", NONE, "--name", "c", IMAGE, "sh", "-ec", script)
    found = user.ok("diff", "c").splitlines()
    assert {"C /data", "C /data/kept", "D /data/one", "C /srv/web", "A /srv/web/own", "C /srv/web/page"} <= set(found)
    assert not [line for line in found if line.startswith(("C /bin", "A /bin", "D /srv", "C /raised", "C /srv/device"))]
    data = bytes_of(user, "cp", "c:/data/.", "-")
    assert set(members(data)) >= {"kept", "changed", "two", "opaque/new"}
    bytes_of(user, "cp", "-", "c:/tmp", stdin=data)
    assert user.ok("diff", "c").count("A /tmp/") >= 5
    exported = members(bytes_of(user, "export", "c"))
    # Who has no range of ids makes files of its own id; what the image says of them is still known.
    assert (exported["srv/web/page"].uid, exported["srv/web/page"].gid) == (33, 33)
    assert (exported["home/user"].uid, exported["raised/su"].mode) == (1000, 0o4755)
    assert exported["srv/web/own"].uid == 0
    assert exported["srv/device"].ischr()
    assert exported["srv/attributes"].pax_headers["SCHILY.xattr.user.note"] == "hello"
    assert "data/old" not in exported and "data/opaque/hidden" not in exported
    image = user.ok("commit", "-q", "c").strip()
    look = "cd /; cat data/kept data/two srv/web/page tmp/changed; ls data"
    seen = user.ok("run", "--rm", NONE, image, "sh", "-c", look)
    assert seen == "keptmore\nlinkedpagepage2\nafterchanged\nkept\nopaque\nreplaced\ntwo\n"
    if not user.kind.ranged:
        return
    owners = user.ok("run", "--rm", NONE, image, "stat", "-c", "%u:%g", "/srv/web/page", "/srv/web/own", "/home/user")
    assert owners == "33:33\n0:0\n1000:1000\n"


def test_owners_survive_a_commit_by_who_cannot_make_them(user: User) -> None:
    """The new image is exported with the owners of the old one: they are in its layer, made real or recorded."""
    user.ok("run", NONE, "--name", "c", IMAGE, "sh", "-ec", "echo page2 >> /srv/web/page; touch /srv/unreadable")
    for options in ([], ["--squash"]):
        image = user.ok("commit", "-q", *options, "c").strip()
        user.ok("create", NONE, "--name", "d", image, "true")
        found = members(bytes_of(user, "export", "d"))
        assert (found["srv/web/page"].uid, found["srv/web/page"].mode) == (33, 0o640)
        assert (found["srv/web"].uid, found["home/user/file"].uid) == (33, 1000)
        assert found["srv/device"].ischr()
        user.ok("rm", "d")
        user.ok("rmi", "-f", image)
