"""From bytes to statements: directives, comments, continuation lines, flags and heredocs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from rootless.containerfile import lex
from rootless.containerfile.model import Heredoc
from rootless.containerfile.origin import Origin, Source

if TYPE_CHECKING:
    from collections.abc import Iterator

LARGEST = 4 << 20
"""Bytes of a file."""
LONGEST = 65535
"""Bytes of a line, as for BuildKit and buildah."""
MOST = 10_000
"""Instructions of a file."""

DIRECTIVES = ("syntax", "escape", "check")
WITH_HEREDOCS = ("ADD", "COPY", "RUN")

_DIRECTIVE = re.compile(r"#\s*([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(\S(?:.*\S)?)\s*")
_BAD = re.compile("[\0\ud800-\udfff]")
_BOM = b"\xef\xbb\xbf"


class Statement(NamedTuple):
    """An instruction whose arguments are not read yet: ``rest`` stands behind the flags, at ``offset`` of the text."""

    origin: Origin
    keyword: str
    flags: list[lex.Word]
    rest: str
    offset: int
    heredocs: tuple[Heredoc, ...]


class Reader:
    """Reads a file statement by statement."""

    def __init__(self, data: bytes, name: str) -> None:
        """Raises ContainerfileError for what is too large to be read at all."""
        whole = data.removeprefix(_BOM)
        pieces = whole.split(b"\n") if len(data) <= LARGEST else []
        self.source = Source(name, [piece.decode("utf-8", "surrogateescape").rstrip("\r") for piece in pieces])
        if len(data) > LARGEST:
            raise self.source.error(f"the file is larger than {LARGEST >> 20} MiB", 1, 1)
        for number, piece in enumerate(pieces, 1):
            if len(piece) > LONGEST:
                raise self.source.error(
                    f"the line is longer than {LONGEST} bytes", number, 1, "put long data into a file and COPY it")
        self.escape = "\\"
        self.directives: dict[str, str] = {}
        self._pieces = pieces
        self._next = 0
        self._directives()

    def _directives(self) -> None:
        """Read what stands as ``# NAME=VALUE`` before anything else."""
        for number, line in enumerate(self.source.lines, 1):
            found = _DIRECTIVE.fullmatch(line.strip())
            name = found[1].lower() if found else ""
            if not found or name not in DIRECTIVES:
                return
            if name in self.directives:
                raise self.source.error(f"the directive {name!r} is given twice", number, 1)
            if name == "escape":
                if found[2] not in ("\\", "`"):
                    raise self.source.error(f"{found[2][:20]!r} cannot escape", number, 1, "choose \\ or `")
                self.escape = found[2]
            self.directives[name] = found[2]
            self._next = number

    def statements(self) -> Iterator[Statement]:
        """One after the other. What is in an ONBUILD `statement` reads, before the next. Raises ContainerfileError."""
        count = 0
        while (origin := self._logical_line()) is not None:
            count += 1
            if count > MOST:
                raise origin.error(f"there are more than {MOST} instructions", doing="read")
            yield self.statement(origin)

    def statement(self, origin: Origin, start: int = 0) -> Statement:
        """What begins at ``start`` of a logical line; reads its heredocs."""
        text = origin.text
        keyword = _keyword(text, start)
        behind = start + len(keyword)
        keyword = keyword.upper()
        flags, skipped = lex.flags(text[behind:])
        flags = [flag._replace(offset=behind + flag.offset) for flag in flags]
        offset = behind + skipped
        rest = text[offset:].rstrip()
        offset += len(rest) - len(rest.lstrip())
        rest = rest.lstrip()
        if keyword == "ONBUILD":
            return Statement(origin, keyword, flags, rest, offset, ())
        heredocs: tuple[Heredoc, ...] = ()
        if "<<" in rest and keyword in WITH_HEREDOCS and not rest.startswith("["):
            announced = [lex.heredoc(word.text) for word in lex.words(rest, "\\")]
            heredocs = tuple(self._content(heredoc, origin) for heredoc in announced if heredoc)
        if not text.isascii() or "\0" in text:
            _check_characters(origin)
        return Statement(origin, keyword, flags, rest, offset, heredocs)

    def _logical_line(self) -> Origin | None:
        """The next line that is no comment, with those that continue it; None at the end."""
        lines = self.source.lines
        parts: list[str] = []
        pieces: list[tuple[int, int, int]] = []
        length = 0
        while self._next < len(lines):
            line = lines[self._next]
            self._next += 1
            bare = line.lstrip()
            if not bare or bare.startswith("#"):
                continue
            column = 1
            if not pieces:
                column += len(line) - len(bare)
                line = bare
            part = self._continued(line)
            pieces.append((length, self._next, column))
            parts.append(line if part is None else part)
            length += len(parts[-1])
            if part is None or length > LARGEST:
                break
        text = "".join(parts)
        return Origin(self.source, text, pieces) if text.strip() else None

    def _continued(self, line: str) -> str | None:
        """The line without the character that continues it, or None if it is not continued."""
        body = line.rstrip(" \t")
        if not body.endswith(self.escape) or body.endswith(self.escape * 2):
            return None
        return body[:-1]

    def _content(self, heredoc: Heredoc, origin: Origin) -> Heredoc:
        """The heredoc with its lines. Raises ContainerfileError when it has no end."""
        start = self._next
        while self._next < len(self._pieces):
            line = self.source.lines[self._next]
            self._next += 1
            if (line.lstrip("\t") if heredoc.chomp else line) == heredoc.name:
                content = b"".join(piece + b"\n" for piece in self._pieces[start : self._next - 1])
                return heredoc._replace(content=content.decode("utf-8", "surrogateescape"))
        name = heredoc.name[:40]
        raise origin.error(
            f"the heredoc {name!r} has no end", f"write {name} on a line of its own below it", near="<<", doing="read")


def _keyword(text: str, start: int) -> str:
    end = start
    while end < len(text) and text[end] not in lex.SPACE:
        end += 1
    return text[start:end]


def _check_characters(origin: Origin) -> None:
    """Raise ContainerfileError for what neither a program's arguments nor an image's configuration can hold."""
    found = _BAD.search(origin.text)
    if found and found.group() == "\0":
        raise origin.error("there is a NUL byte", offset=found.start(), doing="read")
    if found:
        raise origin.error("the text is not UTF-8", "save the file as UTF-8", offset=found.start(), doing="read")
