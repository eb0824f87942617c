"""Fixtures of the tests that every kind of user tries on every storage driver."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import matrix
from tests.support.drivers import DRIVERS
from tests.support.fixtures import require
from tests.support.matrix import USERS, User

IMAGE = "localhost/special"


def open_to_all(layout: Path) -> Path:
    """Let other users reach what a test has made."""
    for directory in [layout, *layout.parents[:3]]:
        if directory.stat().st_uid == os.getuid():
            directory.chmod(0o755)
    return layout


@pytest.fixture(scope="session")
def special(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the image's layout, open to all."""
    return open_to_all(matrix.layout(tmp_path_factory.mktemp("special") / "layout"))


def _of_root(name: str) -> object:
    return pytest.param(name, marks=pytest.mark.as_root) if USERS[name].root else name


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
    owner.driver = request.param
    yield owner
    assert owner.leftovers() == []
    assert owner.ok("system", "check") == ""
    owner.driver = ""
