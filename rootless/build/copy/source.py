"""Where files are copied from: a directory (the build context, a named one, a clone), or the layers of an image."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, NamedTuple

from rootless.build.copy.content import FileContent, Item
from rootless.build.copy.rules import Excluded, Rules
from rootless.build.copy.view import DEEPEST, Node, View
from rootless.build.patterns import Pattern, PatternError, clean, has_wildcards
from rootless.engine.containers import stack as stacks
from rootless.engine.containers.stack import Stack
from rootless.engine.images.limits import limits_of
from rootless.errors import RootlessError
from storage import union
from storage.archive.tar_reader import BLOCK_DEVICE, CHARACTER, DIRECTORY, FIFO, REGULAR, SYMLINK
from storage.errors import StorageError, shown
from storage.union import Entry, Tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rootless.build.copy.request import Request
    from rootless.build.job import Job
    from storage.ownership import TrueEntry
    from storage.union import Level

_KINDS = {
    stat.S_IFREG: REGULAR, stat.S_IFDIR: DIRECTORY, stat.S_IFLNK: SYMLINK, stat.S_IFIFO: FIFO, stat.S_IFCHR: CHARACTER,
    stat.S_IFBLK: BLOCK_DEVICE,
}  # fmt: skip
_SET_ID = stat.S_ISUID | stat.S_ISGID


class Chosen(NamedTuple):
    """One of the things that a source word means.

    ``path`` is as written, without wildcards; ``kept`` is the part of it that ``--parents`` keeps.
    """

    path: str
    kept: str

    @property
    def name(self) -> str:
        """The name that it has in a directory."""
        return self.path.rpartition("/")[2]


class Source:
    """A tree that is copied from, open until ``close``.

    ``reset``: files lose their owners and set-id bits, as those of a directory of the user do.
    """

    def __init__(self, stack: Stack, rules: Rules, limit: int, where: str, *, reset: bool) -> None:
        """``limit``: bytes that a file may have; ``where`` is what errors call the source."""
        self.view = View(stack, bare=reset)
        self.stack = stack
        self.where = where
        self._rules = rules
        self._limit = limit
        self._reset = reset
        self._links: dict[tuple[int, int], Item] = {}
        self._filtered = False

    @classmethod
    def of_directory(cls, path: str, rules: Rules, limit: int, where: str) -> Source:
        """A directory of the host, which may be hostile: nothing outside of it is reached."""
        return cls(Stack([Tree(path, union.PLAIN)]), rules, limit, where, reset=True)

    def close(self) -> None:
        """Let go of all descriptors."""
        self.view.close()

    # Choosing.

    def choose(self, words: Sequence[str]) -> list[Chosen]:
        """What source words mean. Raises RootlessError for one that means nothing.

        One with wildcards may mean nothing if another means something.
        """
        found = [(word, self._choice(word)) for word in words]
        if not any(chosen for _, chosen in found):
            word = found[0][0]
            if self._filtered:
                raise self._left_out(f"everything that {word!r} means")
            raise RootlessError(f"{word!r} is not in {self.where}", self._hint())
        return [each for _, chosen in found for each in chosen]

    def _choice(self, word: str) -> list[Chosen]:
        pivot, kept = _pivot(word)
        path = _inside(pivot + "/" + kept if pivot else kept)
        skipped = len(_inside(pivot).split("/")) if _inside(pivot) else 0
        names = path.split("/") if path else []
        if not any(has_wildcards(name) for name in names):
            found = [path] if self._is_there(path) else []
            matched = found
        else:
            matched = sorted(self._matching("", names))
            found = [each for each in matched if not self._leaves_out(each)]
        self._filtered = self._filtered or len(found) < len(matched)
        if not found and not any(has_wildcards(name) for name in names):
            raise RootlessError(f"{word!r} is not in {self.where}", self._hint())
        if found == [path] and path and self._leaves_out(path):
            raise self._left_out(repr(word))
        return [Chosen(each, "/".join(each.split("/")[skipped:])) for each in found]

    @staticmethod
    def _left_out(what: str) -> RootlessError:
        return RootlessError(f"{what} is left out by the ignore file", "take it out of the ignore file")

    def _hint(self) -> str:
        if self.where != "the build context":
            return ""
        return "paths are relative to the build context, and nothing outside of it can be copied"

    def _end(self, path: str) -> tuple[Node, str, Node | Entry | None]:
        """As `View.end`, with nothing where something on the way is missing."""
        try:
            return self.view.end(path)
        except (FileNotFoundError, NotADirectoryError):
            return self.view.root, "", None
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
            return self.view.root, "", None

    def _is_there(self, path: str) -> bool:
        return self._end(path)[2] is not None

    def _matching(self, above: str, names: Sequence[str]) -> Iterator[str]:
        """Paths that fit a pattern of names, in the directory ``above``."""
        name, rest = names[0], names[1:]
        prefix = f"{above}/" if above else ""
        if not has_wildcards(name):
            found = [name] if self._is_there(prefix + name) else []
        elif name == "**":
            yield from self._anywhere(above, rest or ("*",))
            return
        else:
            found = [each for each in self._names(above) if _fits(name, each)]
        for each in found:
            if not rest:
                yield prefix + each
            elif self._is_directory(prefix + each):
                yield from self._matching(prefix + each, rest)

    def _anywhere(self, above: str, rest: Sequence[str], depth: int = 0) -> Iterator[str]:
        if depth > DEEPEST:
            raise StorageError(f"cannot copy directories deeper than {DEEPEST}")
        yield from self._matching(above, rest)
        for each in self._names(above):
            below = f"{above}/{each}" if above else each
            _, _, found = self.view.find(below)
            if isinstance(found, Node) or (isinstance(found, Entry) and found.is_directory):
                yield from self._anywhere(below, rest, depth + 1)

    def _names(self, directory: str) -> list[str]:
        try:
            level = self.view.level(self.view.directory(directory))
        except (FileNotFoundError, NotADirectoryError):
            return []
        self.view.tidy()
        return sorted(level.entries()) if level is not None else []

    def _is_directory(self, path: str) -> bool:
        _, _, found = self._end(path)
        return isinstance(found, Node) or (found is not None and found.is_directory)

    def _leaves_out(self, path: str) -> bool:
        ignored = self._rules.ignored
        if ignored is None or not path:
            return False
        node, name, found = self._end(path)
        real = found.path if isinstance(found, Node) else f"{node.path}/{name}".strip("/")
        is_directory = isinstance(found, Node) or (found is not None and found.is_directory)
        enters = self._rules.enters
        return ignored(real) and not (is_directory and enters is not None and enters(real))

    # Reading.

    def open(self, path: str) -> Entry | Node:
        """What a chosen path is: a node for a directory."""
        self.view.tidy()
        node, name, found = self._end(path)
        if found is None:
            raise RootlessError(f"{path!r} is not in {self.where}", self._hint())
        if isinstance(found, Entry) and found.is_directory:
            return self.view.enter(node, name, found)
        return found

    def members(self, node: Node) -> Iterator[tuple[str, Entry]]:
        """What is in a directory and not left out, each with its path in it; a directory comes before what is in it."""
        level = self.view.level(node)
        if level is not None:
            yield from self._members(level, "", [], 0)

    def _members(
        self, level: Level, prefix: str, pending: list[tuple[str, Entry]], depth: int
    ) -> Iterator[tuple[str, Entry]]:
        """``pending``: directories above that are left out unless something in them is not."""
        if depth > DEEPEST:
            raise StorageError(f"cannot copy directories deeper than {DEEPEST}")
        entries = level.entries()
        for name in sorted(entries):
            entry = entries[name]
            path = prefix + name
            out, enters = self._skips(path, entry)
            if not entry.is_directory:
                if not out:
                    yield from pending
                    pending.clear()
                    yield path, entry
                continue
            if out and not enters:
                continue
            with level.descend(entry) as below:
                if out:
                    deeper = [*pending, (path, entry)]
                    yield from self._members(below, path + "/", deeper, depth + 1)
                    if not deeper:
                        pending.clear()
                else:
                    yield from pending
                    pending.clear()
                    yield path, entry
                    yield from self._members(below, path + "/", [], depth + 1)

    def _skips(self, path: str, entry: Entry) -> tuple[bool, bool]:
        """(is it left out, may something below it be taken in all the same)."""
        rules = self._rules
        out, enters = False, True
        if rules.ignored is not None and rules.ignored(entry.path):
            out = True
            enters = rules.enters is None or rules.enters(entry.path)
        if rules.exclude and rules.exclude.excludes(path):
            out = True
            enters = enters and rules.exclude.enters(path)
        return out, enters

    def excludes(self, name: str) -> bool:
        """Whether ``--exclude`` means a source that is a file."""
        return bool(self._rules.exclude) and self._rules.exclude is not None and self._rules.exclude.excludes(name)

    def item(self, entry: Entry) -> Item | None:
        """What a member is; None for a socket, which no archive can hold."""
        status = entry.status
        kind = _KINDS.get(stat.S_IFMT(status.st_mode))
        if kind is None:
            return None
        mode, owner = stat.S_IMODE(status.st_mode), (0, 0)
        device = (os.major(status.st_rdev), os.minor(status.st_rdev)) if kind in (CHARACTER, BLOCK_DEVICE) else (0, 0)
        extra: dict[bytes, bytes] = {}
        if self._reset:
            mode &= ~_SET_ID
        else:
            truth = stacks.true_entry(self.stack, entry)
            owner = entry.owner()
            if truth is not None:
                owner, mode, kind, device, extra = _truth(truth, kind, device)
        if kind == REGULAR:
            return self._file(entry, mode, owner, extra)
        if kind == DIRECTORY:
            extra = {**self.view.reader.attributes(entry.reference), **extra}
        link = os.fsencode(os.readlink(entry.name, dir_fd=entry.directory)) if kind == SYMLINK else b""
        return Item(kind, mode, owner, status.st_mtime_ns, link=link, device=device, xattrs=extra)

    def node_item(self, node: Node) -> Item:
        """What an opened directory is."""
        item = node.item
        mode = item.mode & ~_SET_ID if self._reset else item.mode
        owner = (0, 0) if self._reset else (item.uid, item.gid)
        return Item(DIRECTORY, mode, owner, item.mtime_ns, xattrs=item.xattrs)

    def _file(self, entry: Entry, mode: int, owner: tuple[int, int], extra: dict[bytes, bytes]) -> Item:
        status = entry.status
        inode = (status.st_dev, status.st_ino)
        if status.st_nlink > 1:
            known = self._links.get(inode)
            if known is not None:
                known.linked = True
                return known
        content = FileContent(self.view.reader, entry.tree, entry.path, self._limit, entry.path)
        item = Item(REGULAR, mode, owner, status.st_mtime_ns, xattrs=extra, content=content)
        if status.st_nlink > 1:
            self._links[inode] = item
        return item


def source_of(job: Job, wanted: Request) -> Callable[[], Source]:
    """What opens the tree that paths are copied from. Raises what `Job.find` raises."""
    limit = limits_of(job.engine).bytes
    exclude = Excluded(wanted.exclude) if wanted.exclude else None
    if not wanted.from_:
        if not job.context:
            hint = "name a directory, an archive or a repository"
            raise RootlessError("there is no build context to copy from", hint)
        rules = Rules(job.ignored, job.enters, exclude)
        return lambda: Source.of_directory(job.context, rules, limit, "the build context")
    directory = job.directory_of(wanted.from_)
    rules = Rules(exclude=exclude)
    if directory:
        return lambda: Source.of_directory(directory, rules, limit, f"the context {wanted.from_}")
    layers = job.find(wanted.from_).diff_ids
    stack = stacks.of_layers(job.engine, layers)
    return lambda: Source(stack, rules, limit, wanted.from_, reset=False)


def _truth(
    truth: TrueEntry, kind: bytes, device: tuple[int, int]
) -> tuple[tuple[int, int], int, bytes, tuple[int, int], dict[bytes, bytes]]:
    """Owner, mode, kind, device and further attributes of what could not be made real."""
    import base64

    extra = {os.fsencode(key): base64.b64decode(text) for key, text in truth.get("xattrs", {}).items()}
    if "device" in truth:
        kind = CHARACTER if truth.get("type") == "c" else BLOCK_DEVICE
        device = (truth["device"][0], truth["device"][1])
    return (truth["uid"], truth["gid"]), truth["mode"], kind, device, extra


def _inside(word: str) -> str:
    """A source as a path below the root of its tree, which ``..`` does not leave."""
    return "/".join(name for name in clean(word).split("/") if name not in ("", ".."))


def _pivot(word: str) -> tuple[str, str]:
    """A source word at ``/./``, where the part begins that ``--parents`` keeps."""
    head, found, tail = word.partition("/./")
    return (head, tail) if found else ("", word)


def _fits(pattern: str, name: str) -> bool:
    try:
        return Pattern(pattern).matches(name)
    except PatternError as error:
        raise RootlessError(f"the pattern {shown(pattern)} {error}") from None
