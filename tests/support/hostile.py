"""Hostile images in the store of a user, for tests on every driver, with a range of subordinate ids and without."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tests.support import images, matrix
from tests.support.fixtures import require
from tests.support.layers import Item, archive
from tests.support.matrix import USERS, User

DRIVERS = {"overlay": ["overlay"], "fuse-overlayfs": ["fuse", "fuse-overlayfs"], "copy": []}
"""Each driver, with what it needs."""
CASES = [("user", driver) for driver in DRIVERS] + [("user-alone", driver) for driver in ("overlay", "copy")]
"""Users of `tests.support.matrix` with drivers."""


class Image(NamedTuple):
    """Busybox with more layers, and a configuration."""

    layers: Sequence[Sequence[Item]] = ()
    config: Mapping[str, Any] = {}


def write_layout(target: Path, hostile: Mapping[str, Image]) -> Path:
    """An OCI image layout of the images, each under its name."""
    made = images.Layout(target)
    base = made.add_layer(images.busybox_tar())
    for name, image in hostile.items():
        layers = [base, *(made.add_layer(archive(items)) for items in image.layers)]
        made.add_image(name, layers, {"Cmd": ["sh"], **image.config})
    return target


@contextmanager
def stored(case: tuple[str, str], layout: Path, names: Sequence[str]) -> Iterator[User]:
    """A user with a driver, and the images ``localhost/NAME``; at the end he must have nothing left of containers."""
    kind, driver = USERS[case[0]], case[1]
    require(*DRIVERS[driver], *(["subuid", "newuidmap"] if kind.ranged else []))
    with matrix.new_user(kind) as made:
        made.driver = driver
        for name in names:
            made.ok("tag", made.ok("pull", "--quiet", f"oci:{layout}:{name}").strip(), f"localhost/{name}")
        yield made
        assert made.leftovers() == []
