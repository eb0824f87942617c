"""Hosts poorer than this one: a mount namespace in which files are replaced and devices or programs are missing."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path

_KEPT_DEVICES = "null zero full random urandom tty"
_USER_NAMESPACE = ("--user", "--map-current-user", "--keep-caps")
_WITHOUT_CAPABILITIES = "setpriv --ambient-caps=-all --inh-caps=-all"


def prefix(
    scratch: Path, *, files: Mapping[str, str] | None = None, without: Iterable[str] = (), tmpfs: Iterable[str] = (),
    ramfs: Iterable[str] = (), uid: int | None = None,
) -> list[str]:  # fmt: skip
    """Words before a command that make it see another host.

    ``files`` have another text, the programs ``without`` cannot be executed, ``/dev/fuse`` and ``/dev/net/tun`` in it
    are not there; on each directory of ``tmpfs`` there is an empty one, and on each of ``ramfs`` one that knows no
    extended attributes. ``scratch`` takes what is mounted. An ordinary user gets a user namespace with his own id
    alone, in which no set-uid program has power; root, who stays where he is, may let the command run as ``uid``
    without groups.
    """
    steps = ["set -e"]
    scratch.mkdir(exist_ok=True)
    for number, (path, text) in enumerate((files or {}).items()):
        replacement = scratch / f"file{number}"
        replacement.write_text(text)
        replacement.chmod(0o644)
        steps.append(f"mount --bind {replacement} {path}")
    nothing = scratch / "nothing"
    nothing.write_text("")
    for path in without:
        if path.startswith("/dev/"):
            steps.append(_poor_dev(scratch, path))
        elif os.path.exists(path):
            steps.append(f"mount --bind {nothing} {path}")
    steps += [f"mount -t tmpfs tmpfs {path}" for path in tmpfs]
    steps += [f"mount -t ramfs ramfs {path}" for path in ramfs]
    if os.getuid() != 0:
        steps.append(f'exec {_WITHOUT_CAPABILITIES} "$@"')
        return ["unshare", *_USER_NAMESPACE, "--mount", "sh", "-c", "\n".join(steps), "sh"]
    become = f"setpriv --reuid={uid} --regid={uid} --clear-groups " if uid is not None else ""
    steps.append(f'exec {become}"$@"')
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", "\n".join(steps), "sh"]


def _poor_dev(scratch: Path, missing: str) -> str:
    """A ``/dev`` of the most ordinary devices only, none of which is ``missing``."""
    new = shlex.quote(str(scratch / "dev"))
    return f"""
        mkdir -p {new}; mount -t tmpfs tmpfs {new}
        for name in {_KEPT_DEVICES}; do touch {new}/$name; mount --bind /dev/$name {new}/$name; done
        mkdir {new}/pts {new}/shm; mount --rbind /dev/pts {new}/pts; chmod 1777 {new}/shm
        ln -s /proc/self/fd {new}/fd; ! test -e {new}/{Path(missing).name}
        mount --rbind {new} /dev
    """
