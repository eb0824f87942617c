"""``diff``: what a container changed of its image, and in what two images differ."""

from __future__ import annotations

from rootless.engine.containers import stack as stacks
from rootless.engine.containers.known import known
from rootless.errors import NotFoundError, RootlessError
from storage import union
from storage.changes import changes
from storage.errors import NotFoundError as NotInStoreError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from rootless.engine.containers.stack import Stack
    from rootless.engine.context import Engine

MADE_BY_THE_ENGINE = frozenset((
    "dev", "etc/hostname", "etc/hosts", "etc/mtab", "etc/resolv.conf", "proc", "run", "run/.containerenv", "run/notify",
    "run/secrets", "run/podman-init", "sys",
))  # fmt: skip
"""Places of mounts: what stands there below them is nobody's change (podman leaves out the same)."""


def diff(engine: Engine, names: Sequence[str], kind: str) -> list[tuple[str, str]]:
    """(``A``, ``C`` or ``D``, absolute path) of what differs, a directory before what is in it.

    One name: a container against its image, or an image against the one below its topmost layer. Two: the first
    against the second. ``kind``: container, image or all (a container first).
    """
    found = [_find(engine, name, kind) for name in names]
    first, is_container = found[0]
    if len(found) > 1:
        upper, lower, whole = first.merged(), found[1][0].merged(), True
    else:
        upper, lower, whole = first.trees[: first.own], first.trees[first.own :], first.whole
        if whole and not lower:
            raise RootlessError(f"cannot compare {names[0]}: its root file system is a directory, without an image")

    def work() -> bytes:
        stacks.raise_open_files()
        with union.top(upper) as own, union.top(lower) as below:
            lines = [
                f"{change.kind}{change.path}\0"
                for change in changes(own, below, whole=whole)
                if not (is_container and change.path in MADE_BY_THE_ENGINE)
            ]
        return "".join(lines).encode("utf-8", "surrogateescape")

    text = engine.in_userns(work).decode("utf-8", "surrogateescape")
    return [(line[0], "/" + line[1:]) for line in text.split("\0") if line]


def _find(engine: Engine, name: str, kind: str) -> tuple[Stack, bool]:
    if kind != "image":
        try:
            container_id = engine.store.containers.find(name)
        except NotInStoreError:
            if kind == "container":
                raise
        else:
            return stacks.of_container(engine, known(engine, container_id)), True
    image = engine.store.images.find(name)
    if image is None:
        what = f"{name}: image not known" if kind == "image" else f"no such container or image: {name}"
        raise NotFoundError(what, "rootless ps -a and rootless images list what there is")
    return stacks.of_image(engine, image), False
