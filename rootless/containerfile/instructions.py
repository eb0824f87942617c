"""The arguments of each instruction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rootless.containerfile import lex, model
from storage import jsonfast

if TYPE_CHECKING:
    from collections.abc import Callable

    from rootless.containerfile.lines import Reader, Statement
    from rootless.containerfile.model import Instruction
    from rootless.containerfile.origin import ContainerfileError

NO_TRIGGERS = ("FROM", "MAINTAINER", "ONBUILD")


def reading(reader: Reader, statement: Statement) -> Instruction:
    """The instruction of a statement other than FROM. Raises ContainerfileError."""
    make = KEYWORDS.get(statement.keyword)
    if make is None:
        raise _unknown(statement)
    return make(reader, statement)


def _unknown(statement: Statement) -> ContainerfileError:
    import difflib  # only for an error

    keyword = statement.keyword
    shown = statement.origin.text[statement.origin.text.upper().find(keyword) :][: len(keyword)][:40]
    near = difflib.get_close_matches(keyword[:40], ("FROM", *KEYWORDS), 1)
    if statement.origin.text[:1] == "<" or keyword.startswith("<"):
        return _error(statement, f'unknown instruction "{shown}"', "is this a Containerfile?")
    return _error(
        statement, f'unknown instruction "{shown}"', f"did you mean {near[0]}?" if near else "", near=shown, offset=0)


def _error(
    statement: Statement, message: str, hint: str = "", *, near: str = "", offset: int | None = None
) -> ContainerfileError:
    at = statement.offset if offset is None else offset
    return statement.origin.error(message, hint, near=near, offset=at, doing="read")


class Flags:
    """The flags of a statement: those with a value, given once or (``many``) several times, and ``switches``."""

    def __init__(
        self,
        statement: Statement,
        known: tuple[str, ...] = (),
        switches: tuple[str, ...] = (),
        many: tuple[str, ...] = (),
    ) -> None:
        """Raises ContainerfileError for a flag that is none of these, lacks its value or is given twice."""
        self._statement = statement
        self._values: dict[str, list[str]] = {}
        for word in statement.flags:
            name, equals, value = word.text[2:].partition("=")
            if name not in known + switches + many:
                raise self._no_flag(word, name, known + switches + many)
            if not equals and name not in switches:
                raise _error(statement, f"--{name} needs a value", f"write --{name}=VALUE", offset=word.offset)
            if name in switches:
                value = value.lower() if equals else "true"
                if value not in ("true", "false"):
                    raise _error(
                        statement, f"--{name} is true or false, not {value[:20]!r}", near=value, offset=word.offset)
            if name in self._values and name not in many:
                raise _error(statement, f"--{name} is given twice", offset=word.offset)
            self._values.setdefault(name, []).append(value)

    def _no_flag(self, word: lex.Word, name: str, known: tuple[str, ...]) -> ContainerfileError:
        import difflib  # only for an error

        near = difflib.get_close_matches(name[:40], known, 1)
        hint = f"did you mean --{near[0]}?" if near else "it takes no flags"
        if known and not near:
            hint = "it takes " + ", ".join(f"--{other}" for other in known)
        return _error(
            self._statement, f"{self._statement.keyword} has no flag --{name[:40]}", hint, near=word.text, offset=0)

    def text(self, name: str) -> str:
        """The value, or ''."""
        return self._values.get(name, [""])[0]

    def all(self, name: str) -> tuple[str, ...]:
        """All values."""
        return tuple(self._values.get(name, ()))

    def on(self, name: str) -> bool:
        """Whether a yes-or-no flag is on."""
        return self.text(name) == "true"

    def given(self, name: str) -> bool:
        """Whether it was given."""
        return name in self._values


def _list(statement: Statement, text: str) -> tuple[str, ...] | None:
    """The exec form; None if the text is no JSON list. Raises ContainerfileError for a list of other than strings."""
    if not text.startswith("["):
        return None
    try:
        value = jsonfast.loads(text)
    except jsonfast.JSONError:
        return None
    found: list[str] = []
    for item in value:
        if not isinstance(item, str):
            raise _error(statement, "the list has something that is no string", 'write ["word", "word"]')
        if "\0" in item:
            raise _error(statement, "there is a NUL character", near="\\u0000")
        found.append(item.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))
    return tuple(found)


def _command(statement: Statement, text: str) -> model.Command:
    words = _list(statement, text)
    return text if words is None else words


def _words(statement: Statement, what: str) -> tuple[str, ...]:
    """A list, or words between spaces. Raises ContainerfileError when there are none."""
    words = _list(statement, statement.rest)
    if words is None:
        words = tuple(word.text for word in lex.split(statement.rest))
    if not words:
        raise _error(statement, f"{statement.keyword} needs {what}")
    return words


def _text(statement: Statement, what: str) -> str:
    Flags(statement)
    if not statement.rest:
        raise _error(statement, f"{statement.keyword} needs {what}")
    return statement.rest


def _sources(statement: Statement) -> tuple[tuple[str, ...], tuple[model.Heredoc, ...], str]:
    """Sources, documents and destination of COPY and ADD."""
    words = _words(statement, "sources and a destination")
    if len(words) < 2:
        hint = f"write {statement.keyword} SOURCE… DESTINATION"
        raise _error(statement, f"{statement.keyword} needs a source and a destination", hint)
    if statement.heredocs and lex.heredoc(words[-1]):
        raise _error(statement, "a heredoc cannot be the destination", near=words[-1])
    documents = {heredoc.name: heredoc for heredoc in statement.heredocs}
    paths: list[str] = []
    contents: list[model.Heredoc] = []
    for word in words[:-1]:
        announced = lex.heredoc(word) if documents else None
        if announced and announced.name in documents:
            if "/" in announced.name or announced.name in (".", ".."):
                raise _error(statement, f"{announced.name[:40]!r} cannot be a file's name", near=word)
            contents.append(documents[announced.name])
        elif not word:
            raise _error(statement, "a source is empty", near='""')
        else:
            paths.append(word)
    if not words[-1]:
        raise _error(statement, "the destination is empty", near='""')
    return tuple(paths), tuple(contents), words[-1]


def _add(_: Reader, statement: Statement) -> model.Add:
    flags = Flags(statement, ("chown", "chmod", "checksum"), ("link", "keep-git-dir", "unpack"), ("exclude",))
    sources, documents, destination = _sources(statement)
    return model.Add(
        statement.origin, sources, documents, destination, flags.text("chown"), flags.text("chmod"), flags.on("link"),
        flags.all("exclude"), flags.text("checksum"), flags.on("keep-git-dir"),
        flags.on("unpack") if flags.given("unpack") else None)  # fmt: skip


def _arg(reader: Reader, statement: Statement) -> model.Arg:
    Flags(statement)
    pairs: list[tuple[str, str | None]] = []
    for word in lex.words(statement.rest, reader.escape):
        name, equals, value = word.text.partition("=")
        if not name:
            raise _error(statement, "an argument has no name", offset=statement.offset + word.offset)
        pairs.append((name, value if equals else None))
    if not pairs:
        raise _error(statement, "ARG needs a name", "write ARG NAME[=DEFAULT]")
    return model.Arg(statement.origin, tuple(pairs))


def _cmd(_: Reader, statement: Statement) -> model.Cmd:
    Flags(statement)
    return model.Cmd(statement.origin, _command(statement, statement.rest) or ())


def _copy(_: Reader, statement: Statement) -> model.Copy:
    flags = Flags(statement, ("from", "chown", "chmod"), ("link", "parents"), ("exclude",))
    sources, documents, destination = _sources(statement)
    if documents and flags.text("from"):
        raise _error(statement, "a heredoc does not come from another image", near="<<")
    return model.Copy(
        statement.origin, sources, documents, destination, flags.text("from"), flags.text("chown"), flags.text("chmod"),
        flags.on("link"), flags.on("parents"), flags.all("exclude"))  # fmt: skip


def _entrypoint(_: Reader, statement: Statement) -> model.Entrypoint:
    Flags(statement)
    return model.Entrypoint(statement.origin, _command(statement, statement.rest) or ())


def _pairs(reader: Reader, statement: Statement) -> tuple[tuple[str, str], ...]:
    """``NAME=VALUE…``, or ``NAME VALUE`` of which VALUE is the rest of the line."""
    Flags(statement)
    words = lex.words(statement.rest, reader.escape)
    keyword = statement.keyword
    if not words:
        raise _error(statement, f"{keyword} needs a name and a value", f"write {keyword} NAME=VALUE")
    if "=" not in words[0].text:
        name = lex.split(statement.rest)[0].text
        value = statement.rest[len(name) :].lstrip(lex.SPACE)
        if not value:
            raise _error(statement, f"{keyword} {name[:40]} has no value", f"write {keyword} {name[:40]}=VALUE")
        return ((name, value),)
    pairs: list[tuple[str, str]] = []
    for word in words:
        name, equals, value = word.text.partition("=")
        if not equals or not name:
            what = f"{word.text[:40]!r} has no '='" if name else f"{word.text[:40]!r} has no name"
            raise _error(
                statement, what, "write NAME=VALUE, and quotes around a value with spaces",
                offset=statement.offset + word.offset)
        pairs.append((name, value))
    return tuple(pairs)


def _env(reader: Reader, statement: Statement) -> model.Env:
    return model.Env(statement.origin, _pairs(reader, statement))


def _expose(_: Reader, statement: Statement) -> model.Expose:
    Flags(statement)
    ports = tuple(word.text for word in lex.split(statement.rest))
    if not ports:
        raise _error(statement, "EXPOSE needs a port")
    return model.Expose(statement.origin, ports)


def _healthcheck(_: Reader, statement: Statement) -> model.Healthcheck:
    flags = Flags(statement, ("interval", "timeout", "start-period", "start-interval", "retries"))
    kind = statement.rest.split(maxsplit=1)[0] if statement.rest else ""
    rest = statement.rest[len(kind) :].lstrip()
    if kind.upper() == "NONE":
        if rest or statement.flags:
            raise _error(statement, "HEALTHCHECK NONE takes nothing else", offset=0)
        return model.Healthcheck(statement.origin, None)
    if kind.upper() != "CMD":
        raise _error(
            statement, f"HEALTHCHECK is CMD or NONE, not {kind[:20]!r}" if kind else "HEALTHCHECK needs CMD or NONE",
            "write HEALTHCHECK CMD COMMAND")
    command = _command(statement, rest)
    if not command:
        raise _error(statement, "HEALTHCHECK CMD needs a command")
    return model.Healthcheck(
        statement.origin, command, flags.text("interval"), flags.text("timeout"), flags.text("start-period"),
        flags.text("start-interval"), flags.text("retries"))  # fmt: skip


def _label(reader: Reader, statement: Statement) -> model.Label:
    return model.Label(statement.origin, _pairs(reader, statement))


def _maintainer(_: Reader, statement: Statement) -> model.Maintainer:
    return model.Maintainer(statement.origin, _text(statement, "a name"))


def _onbuild(reader: Reader, statement: Statement) -> model.OnBuild:
    Flags(statement)
    if not statement.rest:
        raise _error(statement, "ONBUILD needs an instruction")
    inner = reader.statement(statement.origin, statement.offset)
    if inner.keyword in NO_TRIGGERS:
        raise _error(statement, f"{inner.keyword} cannot be a trigger")
    reading(reader, inner)
    documents = "".join(f"\n{heredoc.content}{heredoc.name}" for heredoc in inner.heredocs)
    return model.OnBuild(statement.origin, statement.rest + documents)


def _run(_: Reader, statement: Statement) -> model.Run:
    flags = Flags(statement, ("network", "security"), many=("mount",))
    command = _command(statement, statement.rest)
    if not command:
        raise _error(statement, "RUN needs a command")
    if any("\0" in heredoc.content for heredoc in statement.heredocs):
        raise _error(statement, "the heredoc has a NUL byte", near="<<")
    return model.Run(
        statement.origin, command, flags.all("mount"), flags.text("network"), flags.text("security"),
        statement.heredocs)  # fmt: skip


def _shell(_: Reader, statement: Statement) -> model.Shell:
    Flags(statement)
    words = _list(statement, statement.rest)
    if not words:
        raise _error(statement, "SHELL needs a list of words", 'write SHELL ["/bin/sh", "-c"]')
    return model.Shell(statement.origin, words)


def _stopsignal(_: Reader, statement: Statement) -> model.StopSignal:
    return model.StopSignal(statement.origin, _text(statement, "a signal"))


def _user(_: Reader, statement: Statement) -> model.User:
    return model.User(statement.origin, _text(statement, "a user"))


def _volume(_: Reader, statement: Statement) -> model.Volume:
    Flags(statement)
    paths = _words(statement, "a path")
    if not all(path.strip() for path in paths):
        raise _error(statement, "a path is empty", near='""')
    return model.Volume(statement.origin, paths)


def _workdir(_: Reader, statement: Statement) -> model.Workdir:
    return model.Workdir(statement.origin, _text(statement, "a path"))


KEYWORDS: dict[str, Callable[[Reader, Statement], Instruction]] = {
    "ADD": _add, "ARG": _arg, "CMD": _cmd, "COPY": _copy, "ENTRYPOINT": _entrypoint, "ENV": _env, "EXPOSE": _expose,
    "HEALTHCHECK": _healthcheck, "LABEL": _label, "MAINTAINER": _maintainer, "ONBUILD": _onbuild, "RUN": _run,
    "SHELL": _shell, "STOPSIGNAL": _stopsignal, "USER": _user, "VOLUME": _volume, "WORKDIR": _workdir,
}  # fmt: skip
