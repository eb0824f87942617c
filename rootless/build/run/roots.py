"""The trees that mounts of a RUN come from: a directory of the host, or the files of an image or a stage."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
from typing import TYPE_CHECKING, NamedTuple

from rootless.errors import RootlessError
from rootless.linux.path import O_PATH, RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, open_inside, openat2
from storage import drivers, trees
from storage.drivers import directories
from storage.treecopy import TreeCopy

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rootless.build.job import Job
    from rootless.build.state import State
    from rootless.engine.context import Engine

OVERLAY = "overlay"


class Root(NamedTuple):
    """``directories`` make the tree, topmost first. ``state`` is the image it is of; None for a directory of the host.
    ``what`` tells people which it is."""

    what: str
    directories: list[str]
    state: State | None = None


def find(job: Job, word: str, directory: str) -> Root:
    """The tree that ``from=`` means, '' for the build context. ``directory`` is the step's, for what has to be made.

    Raises RootlessError, StorageError.
    """
    if not word:
        if not job.context:
            hint = "name where it is by from="
            raise RootlessError("cannot mount a part of the build context: this build has none", hint)
        return Root("the build context", [job.context])
    named = job.directory_of(word)
    if named:
        return Root(f"the context {word}", [named])
    state = job.find(word)
    layers = job.engine.layers.paths(state.diff_ids)
    lower = directories.visible(layers, directory)
    if len(lower) > 1 and job.engine.driver.name != OVERLAY:
        lower = [flattened(job, state)]
    return Root(word, lower, state)


def flattened(job: Job, state: State) -> str:
    """All files of an image copied into one directory, once for a stage. Raises StorageError."""
    name = hashlib.sha256(" ".join(state.diff_ids).encode()).hexdigest()[:32]
    place = f"{job.work}/tree-{name}"
    os.makedirs(place, 0o700, exist_ok=True)
    copying = drivers.copying(job.engine.store.layout, "", job.engine.in_userns)
    return copying.prepare(place, job.engine.layers.paths(state.diff_ids), ephemeral=True)["merged"]


def true_path(root: str, path: str) -> tuple[str, bool]:
    """What ``path`` leads to in ``root``, as a container sees both: its path there, and whether it is a directory.

    Raises OSError.
    """
    top = os.open(root, O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        found = open_inside(top, path or ".")
        try:
            base = os.readlink(f"/proc/self/fd/{top}")
            true = os.readlink(f"/proc/self/fd/{found}")[len(base) :].strip("/")
            return true, stat.S_ISDIR(os.fstat(found).st_mode)
        finally:
            os.close(found)
    finally:
        os.close(top)


def ignored(job: Job, source: str) -> list[str]:
    """What of the build context is no part of it, by the ignore file, as far as ``source`` leads there.

    Paths relative to the context; of a directory that is left out as a whole it is the directory alone. Raises OSError.
    """
    found: list[str] = []

    def visit(directory: str, prefix: str) -> bool:
        """Whether all in a directory is left out."""
        everything = True
        with os.scandir(directory) as entries:
            children = sorted(entries, key=lambda entry: entry.name)
        for entry in children:
            name = f"{prefix}/{entry.name}" if prefix else entry.name
            mark, hidden = len(found), job.ignored(name)
            if entry.is_dir(follow_symlinks=False) and not (hidden and not job.enters(name)):
                hidden = visit(entry.path, name) and hidden
            if hidden:
                found[mark:] = [name]
            else:
                everything = False
        return everything

    path, is_directory = true_path(job.context, source)
    if is_directory:
        visit(f"{job.context}/{path}", path)
    elif job.ignored(path):
        found.append(path)
    return found


def has_strangers(engine: Engine, root: str, source: str) -> bool:
    """Whether something at ``source`` in ``root`` belongs to a user or group that containers of this user do not have.

    An overlay cannot copy such a file when it is changed. Raises OSError.
    """
    users = [(outside, outside + length) for _, outside, length in engine.idmap.uids]
    groups = [(outside, outside + length) for _, outside, length in engine.idmap.gids]

    def is_strange(status: os.stat_result) -> bool:
        own = any(first <= status.st_uid < last for first, last in users)
        return not (own and any(first <= status.st_gid < last for first, last in groups))

    path, is_directory = true_path(root, source)
    start = f"{root}/{path}"
    if is_strange(os.lstat(start)):
        return True
    return is_directory and any(
        is_strange(os.lstat(name, dir_fd=directory))
        for _, directories, files, directory in os.fwalk(start) for name in (*directories, *files)
    )  # fmt: skip


def whiteouts(root: str, paths: list[str], target: str) -> None:
    """Make a layer in the new directory ``target`` that hides ``paths`` of ``root``; its directories look the same."""
    os.mkdir(target, 0o755)
    above = {""} | {path[: i] for path in paths for i, character in enumerate(path) if character == "/"}
    for directory in sorted(above):
        os.makedirs(f"{target}/{directory}", exist_ok=True)
    for path in paths:
        os.mknod(f"{target}/{path}", stat.S_IFCHR, 0)  # the kernel lets everybody make a whiteout
    for directory in sorted(above, reverse=True):
        found = os.stat(f"{root}/{directory}")
        os.chmod(f"{target}/{directory}", found.st_mode & 0o7777)
        os.utime(f"{target}/{directory}", ns=(found.st_atime_ns, found.st_mtime_ns))


def copied(engine: Engine, root: str, path: str, target: str, without: Iterable[str] = ()) -> str:
    """Copy what ``path`` leads to in ``root``, as a container sees both, into the new directory ``target``.

    ``without``: paths below ``root`` that are left out. The path of the copy below ``target``. Raises RootlessError.
    """
    os.mkdir(target, 0o755)

    def work() -> bytes:
        true, is_directory = true_path(root, path)
        top = os.open(root, O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        found = openat2(top, true or ".", O_PATH, 0, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)
        if is_directory:
            TreeCopy(flatten=False).copy(f"/proc/self/fd/{found}/.", target)
            for name in without:
                if name.startswith(f"{true}/" if true else ""):
                    trees.delete(f"{target}/{name[len(true) :].strip('/')}")
            return b""
        if true in without:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        source, copy, status = f"/proc/self/fd/{found}", f"{target}/file", os.fstat(found)
        shutil.copyfile(source, copy)
        try:
            os.chown(copy, status.st_uid, status.st_gid)
        except OSError as error:
            if error.errno != errno.EINVAL:  # with a single id everything is root's
                raise
        shutil.copystat(source, copy)
        return b"file"

    try:
        return engine.in_userns(work).decode()
    except OSError as error:
        raise RootlessError(f"cannot mount {path or '/'}: {error.strerror}") from None
