"""The disk of the machine: made by ``recipe.sh`` when it or what it installs has changed, else taken from the cache."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.images import IN_USERNS, cache, remove_tree

CHECKOUT = Path(__file__).parents[2]
RECIPE = Path(__file__).with_name("recipe.sh")
KERNEL = "linux.uml"
MODULES = Path("/usr/lib/uml/modules")
TIMEOUT = 900  # seconds, for the making
NOT_INSIDE = ("hatchling", "uv")  # of the test dependencies: they build and install packages


class Unavailable(Exception):
    """This machine cannot make the disk or run the kernel; the text says what is missing."""


def missing() -> str:
    """What this machine lacks to make and boot the disk, in words; "" if nothing."""
    sbin = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    for program in (KERNEL, "debootstrap", "mke2fs", "unshare", *["gcc"] * has_wide_registers()):
        if not shutil.which(program, path=sbin):
            return f"{program} is not installed"
    if not MODULES.is_dir():
        return f"there is no {MODULES}"
    if os.getuid() != 0:
        mapped = subprocess.run([*IN_USERNS, "true"], capture_output=True, text=True, check=False)
        if mapped.returncode:
            return f"neither root nor a range of subordinate ids: {mapped.stderr.strip()}"
    return ""


def has_wide_registers() -> bool:
    """Whether the processor has registers (AMX) because of which the kernel cannot set any: see ``registers.c``."""
    return "amx_tile" in Path("/proc/cpuinfo").read_text().split()


def requirements() -> list[str]:
    """What the program and its tests need of PyPI, as pyproject.toml says."""
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    tests = [line for line in project["optional-dependencies"]["test"] if not line.startswith(NOT_INSIDE)]
    return [*project["dependencies"], *tests]


def key() -> str:
    """Which disk the recipe makes now."""
    kernels = sorted(path.name for path in MODULES.iterdir())
    parts = [RECIPE.read_text(), *requirements(), *kernels, "" if os.getuid() else "root"]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _make(work: Path) -> None:
    """Run the recipe in ``work``. Raises Unavailable with the end of what it said."""
    as_root = IN_USERNS if os.getuid() else ("unshare", "--mount", "--propagation", "private")
    command = [*as_root, "sh", "-eu", str(RECIPE), str(work), *requirements()]
    log = work / "log"
    with log.open("w") as stream:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            env={**os.environ, "PYTHON": sys.executable},
            timeout=TIMEOUT,
            check=False,
        )
    if done.returncode:
        end = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
        raise Unavailable(f"the recipe failed ({log} has all of it):\n{end}")


def _remove_others(directory: Path, name: str) -> None:
    """Delete the disks of other recipes that no machine runs on."""
    for disk in directory.glob("*.disk"):
        if disk.name != name:
            with disk.open("rb") as held:
                try:
                    fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    continue
                disk.unlink()


@contextmanager
def disk() -> Iterator[Path]:
    """The disk, made if need be, and kept as long as the context lasts. It must not be written. Raises Unavailable."""
    lack = missing()
    if lack:
        raise Unavailable(lack)
    directory = cache() / "uml"
    directory.mkdir(exist_ok=True)
    path = directory / f"{key()}.disk"
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            started = time.monotonic()
            print("making the disk of the machine (about 2 minutes)", file=sys.stderr, flush=True)
            work = directory / "work"
            remove_tree(work)
            work.mkdir()
            _make(work)
            (work / "disk").rename(path)
            remove_tree(work)
            print(f"made in {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
        held = path.open("rb")
        fcntl.flock(held, fcntl.LOCK_SH)
        _remove_others(directory, path.name)
    with held:
        yield path
