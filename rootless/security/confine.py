"""Self-confinement of this program's own helpers, before they read what a stranger wrote."""

from __future__ import annotations

import os

from rootless.linux import landlock
from rootless.linux.libc import PR_SET_NO_NEW_PRIVS, prctl
from rootless.linux.seccomp import load
from rootless.security.seccomp import unpacker_program


def prepare_unpacker() -> None:
    """Have the filter of `unpacker` made, if it is not in the cache yet, once and before many workers need it.

    Raises ``RootlessError`` where libseccomp is missing.
    """
    unpacker_program()


def downloader(directories: list[str]) -> None:
    """Confine this process, which speaks with registries, for good: it changes files below ``directories`` only.

    It goes on reading credentials and certificates, and opens connections. Without effect where there is no Landlock.
    """
    held = [os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC) for path in directories]
    landlock.restrict_writing(held)
    for fd in held:
        os.close(fd)


def unpacker(directory: int) -> None:
    """Confine this process, which unpacks a layer into ``directory`` (a descriptor), for good.

    Afterwards it can open files below ``directory`` only, where the kernel has Landlock, and everywhere it cannot make
    sockets, run programs, mount, trace or signal others, or leave its namespaces. Descriptors that are open stay
    usable. All modules and codecs that it needs must be loaded.
    """
    code = unpacker_program()
    landlock.restrict_to(directory)
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    load(code)
