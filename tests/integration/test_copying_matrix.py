"""diff, cp, commit and export for every kind of user on every storage driver: owners are what the image says."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.copying import bytes_of, members
from tests.support.matrix import User
from tests.support.matrix_fixtures import IMAGE

NONE = "--network=none"

pytestmark = pytest.mark.needs("userns", "busybox")


@pytest.fixture
def user(user: User) -> Iterator[User]:
    """As in the other tests; the containers and images that the test made are removed."""
    yield user
    user.ok("rm", "-af", "-t0")
    user.ok("image", "prune", "-f")


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
