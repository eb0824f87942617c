"""This program inside a container of podman's: the machine's own files below a root directory made for it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support import callers
from tests.support.callers import Podman
from tests.support.cli import CHECKOUT
from tests.support.places import OWN

_PREPARE = """
export HOME=/store XDG_RUNTIME_DIR=/store/run PYTHONPATH=/checkout PYTHONDONTWRITEBYTECODE=1 ROOTLESS_PROGRAM=rootless
export PATH=/usr/bin:/usr/sbin:/bin
mkdir -p -m 700 $XDG_RUNTIME_DIR
rootless() { "$PYTHON" -m rootless "$@"; }
"""
_LINKS = ("bin", "sbin", "lib", "lib32", "lib64")


class Outer:
    """A kind of container, by podman's flags; the program runs in a new one each time and finds its store again."""

    def __init__(self, podman: Podman, layout: Path) -> None:
        self._podman = podman
        home = podman.place.home
        self._root = home / "root"
        self.store = home / "inner"
        self.store.mkdir(0o777)
        self.store.chmod(0o777)
        for name in ("proc", "sys", "dev", "tmp", "etc", "usr", "run", "store", "checkout", "layout", "python"):
            (self._root / name).mkdir(parents=True)
        (self._root / "tmp").chmod(0o1777)
        for name in _LINKS:
            if os.path.islink(f"/{name}"):
                (self._root / name).symlink_to(os.readlink(f"/{name}"))
        self._volumes = {"/usr": "/usr", "/etc": "/etc", str(CHECKOUT): "/checkout", str(layout): "/layout"}
        base = Path(sys.prefix)
        if not base.is_relative_to("/usr"):
            self._volumes[str(base)] = str(base)

    def run(self, script: str, *flags: str) -> tuple[int, str]:
        """Run a script in which ``rootless`` is the program; its exit code, and all that was said."""
        volumes = [f"--volume={outside}:{inside}:ro" for outside, inside in self._volumes.items()]
        volumes.append(f"--volume={self.store}:/store")
        words = ["run", "--rm", "--network", "none", *flags, *volumes, "--env", f"PYTHON={sys.executable}"]
        done = self._podman.run(*words, "--rootfs", self._root, "sh", "-c", f"exec 2>&1\n{_PREPARE}{script}")
        assert "Traceback" not in done.stdout, done.stdout
        return done.returncode, done.stdout + done.stderr


@contextmanager
def outer(layout: Path) -> Iterator[Outer]:
    """Containers of podman's in the user's own session."""
    with callers.podman(OWN) as podman:
        yield Outer(podman, layout)
