"""A tree of the host that no attack may change: what is seen of it before must be seen afterwards."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

TEXT = b"canary "
"""What each of its files begins with, and nothing that leaves it may contain."""


def state_of(root: Path) -> dict[str, tuple[object, ...]]:
    """Everything observable of a tree but access times: names, contents, modes, owners, links, attributes, and when
    the kernel last changed each of them.
    """
    found: dict[str, tuple[object, ...]] = {}
    for parent, directories, files in os.walk(root):
        for path in [parent, *(os.path.join(parent, name) for name in [*directories, *files])]:
            status = os.lstat(path)
            content: object = ""
            if stat.S_ISDIR(status.st_mode):
                content = sorted(os.listdir(path))
            elif stat.S_ISLNK(status.st_mode):
                content = os.readlink(path)
            elif stat.S_ISREG(status.st_mode):
                content = hashlib.sha256(Path(path).read_bytes()).hexdigest()
            found[path] = (
                status.st_mode, status.st_uid, status.st_gid, status.st_nlink, status.st_mtime_ns, status.st_ctime_ns,
                content, [(name, os.getxattr(path, name, follow_symlinks=False))
                          for name in os.listxattr(path, follow_symlinks=False)],
            )  # fmt: skip
    return found


class Canary:
    """A new tree at ``root`` with every file that an attack is likely to aim at; ``check`` says that it is untouched.

    Attacks name it by its absolute path (``{canary}/file``), or climb to it. For use as a fixture: ``canary``.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "dir" / "below").mkdir(parents=True)
        (root / "etc").mkdir()
        names = ("file", "dir/file", "dir/below/file", "victim", "etc/passwd", "etc/group", "etc/hosts", "etc/shadow")
        for name in names:
            (root / name).write_bytes(TEXT + name.encode())
        (root / "closed").write_bytes(TEXT + b"closed")
        (root / "closed").chmod(0o400)
        (root / "link").symlink_to("dir")
        try:
            os.setxattr(root / "dir" / "file", "user.canary", b"as it was")
        except OSError:
            pass  # a file system without attributes of users
        self.before = state_of(root)

    def __str__(self) -> str:
        """The absolute path."""
        return str(self.root)

    def check(self) -> None:
        """Assert that nothing changed."""
        now = state_of(self.root)
        assert now.keys() == self.before.keys()
        for path, state in self.before.items():
            assert now[path] == state, f"{path} was {state}, and is {now[path]}"
