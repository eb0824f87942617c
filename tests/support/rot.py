"""Bit rot: single files of a store damaged at random, and pictures of the store from before and after.

Run as root of a user namespace with the user's ids, who may look at and change every file::

    unshare --user --map-root-user --map-auto python -m tests.support.rot damage STORE SEED COUNT
    unshare … python -m tests.support.rot picture STORE
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.cli import CHECKOUT
from tests.support.images import IN_USERNS

Damage = dict[str, Any]
"""``path`` in the store, ``how``, and ``told``: the words by which a check must name it."""


def call(*arguments: str) -> Any:
    """Run this module in the user namespace; what it prints."""
    command = [*IN_USERNS, sys.executable, "-m", "tests.support.rot", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120, env=environment)
    return json.loads(done.stdout)


# What can happen to a file. Whatever changes its bytes leaves its times alone: nobody wrote to it.


def _rewrite(path: Path, change: Callable[[bytes], bytes]) -> None:
    status = path.lstat()
    data = change(path.read_bytes())
    with path.open("r+b") as file:
        file.truncate(0)
        file.write(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def _flip(path: Path, dice: random.Random) -> None:
    def change(data: bytes) -> bytes:
        at, bit = dice.randrange(len(data)), 1 << dice.randrange(8)
        return data[:at] + bytes([data[at] ^ bit]) + data[at + 1 :]

    _rewrite(path, change)


def _zero(path: Path, dice: random.Random) -> None:
    _rewrite(path, lambda data: bytes(len(data)))


def _truncate(path: Path, dice: random.Random) -> None:
    _rewrite(path, lambda data: data[: dice.randrange(len(data))])


def _delete(path: Path, dice: random.Random) -> None:
    path.unlink()


def _mode(path: Path, dice: random.Random) -> None:
    path.chmod(stat.S_IMODE(path.lstat().st_mode) ^ dice.choice([0o001, 0o020, 0o200, 0o4000, 0o777]))


def _owner(path: Path, dice: random.Random) -> None:
    status = path.lstat()
    os.lchown(path, status.st_uid + dice.randint(1, 5), status.st_gid)
    if not path.is_symlink():
        path.chmod(stat.S_IMODE(status.st_mode))


def _retarget(path: Path, dice: random.Random) -> None:
    target = os.readlink(path)
    path.unlink()
    path.symlink_to(target + "x")


_FILE = (_flip, _zero, _truncate, _delete, _mode, _owner)


def ways(path: Path) -> tuple[Callable[[Path, random.Random], None], ...]:
    """What can happen to this file that changes anything."""
    if path.is_symlink():
        return (_delete, _retarget) if path.parent.name == "l" else (_delete, _retarget, _owner)
    if path.is_dir():
        return (_mode, _owner)
    if not path.is_file():
        return ()
    data = path.read_bytes()
    return _FILE if any(data) else (_flip, _truncate, _delete, _mode, _owner) if data else (_delete, _mode, _owner)


def _layers(store: Path) -> list[tuple[Path, str]]:
    found = []
    for layer in sorted((store / "layers").iterdir()):
        found += [(layer / name, f"{layer.name}: {name}:") for name in ("layer.json", "owners")]
        for path in [layer / "diff", *sorted((layer / "diff").rglob("*"))]:
            found.append((path, f"{layer.name}: /{path.relative_to(layer / 'diff')}:".replace("/.:", "/:")))
    return found


def _others(store: Path) -> list[tuple[Path, str]]:
    """What so much depends on that one of it hides what else is damaged."""
    blobs = [(path, path.name) for path in sorted((store / "images/blobs/sha256").iterdir())]
    names = ("images/index.json", "images/oci-layout", "index.copy")
    return [*blobs, *((store / name, Path(name).name) for name in names)]


def damage(store: Path, seed: int, count: int) -> list[Damage]:
    """Damage ``count`` files of layers, each in one way; or, for odd seeds, one other file."""
    dice = random.Random(seed)
    if seed % 2:
        chosen = [dice.choice(_others(store))]
    else:
        links = [(path, path.name) for path in sorted((store / "l").iterdir())]
        places = [place for place in _layers(store) if os.path.lexists(place[0])]
        chosen = [*dice.sample(places, count - 1), dice.choice(links)]
    done = []
    seen: set[int] = set()  # a file with two names is damaged once
    for path, told in chosen:
        inode, usable = path.lstat().st_ino, ways(path)
        if not usable or inode in seen:
            continue
        seen.add(inode)
        how = dice.choice(usable)
        times = path.parent.lstat()
        how(path, dice)
        os.utime(path.parent, ns=(times.st_atime_ns, times.st_mtime_ns))
        done.append({"path": str(path.relative_to(store)), "how": how.__name__.strip("_"), "told": told})
    return done


def picture(store: Path) -> dict[str, list[Any]]:
    """Every file of the store that is to last: kind and mode, owner, time, content; and last the inode."""
    found: dict[str, list[Any]] = {}
    for top in ("images", "layers", "l", "containers", "names", "volumes", "index.copy"):
        for path in [store / top, *sorted((store / top).rglob("*"))]:
            status = path.lstat()
            content = ""
            if path.is_symlink():
                content = os.readlink(path)
            elif path.is_file():
                content = hashlib.sha256(path.read_bytes()).hexdigest()
            attributes = {
                name: os.getxattr(path, name, follow_symlinks=False).hex()
                for name in os.listxattr(path, follow_symlinks=False)}
            in_layer = "/diff" in str(path)
            found[str(path.relative_to(store))] = [
                status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns if in_layer else 0, content,
                attributes, status.st_ino]
    return found


if __name__ == "__main__":
    if sys.argv[1] == "damage":
        print(json.dumps(damage(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))))
    else:
        print(json.dumps(picture(Path(sys.argv[2]))))
