"""What a Containerfile says. All texts are as written: variables are put in by `expand` when a step is executed."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from rootless.containerfile.origin import Origin

Command = str | tuple[str, ...]
"""A text for the shell, or the words of the exec form."""


class Heredoc(NamedTuple):
    """A document in the file.

    ``content`` is as written, each line with its end; ``expand``: no part of the name was quoted; ``chomp``: written as
    ``<<-``.
    """

    name: str
    content: str
    expand: bool
    chomp: bool

    @property
    def data(self) -> str:
        """What a file of it has, or a shell reads: with ``<<-`` without the tabs before each line."""
        if not self.chomp:
            return self.content
        return "".join(line.lstrip("\t") for line in self.content.splitlines(keepends=True))


class Add(NamedTuple):
    """``sources`` are paths, URLs and repositories; ``documents`` are files given as heredocs, named like these.

    ``unpack`` is None where the flag is not given.
    """

    origin: Origin
    sources: tuple[str, ...]
    documents: tuple[Heredoc, ...]
    destination: str
    chown: str = ""
    chmod: str = ""
    link: bool = False
    exclude: tuple[str, ...] = ()
    checksum: str = ""
    keep_git_dir: bool = False
    unpack: bool | None = None


class Arg(NamedTuple):
    """Each name with its default, or None."""

    origin: Origin
    pairs: tuple[tuple[str, str | None], ...]


class Cmd(NamedTuple):
    """The empty exec form takes away what the base has."""

    origin: Origin
    command: Command


class Copy(NamedTuple):
    """As `Add`; ``from_`` is a stage's name or number, a named context or an image, or ''."""

    origin: Origin
    sources: tuple[str, ...]
    documents: tuple[Heredoc, ...]
    destination: str
    from_: str = ""
    chown: str = ""
    chmod: str = ""
    link: bool = False
    parents: bool = False
    exclude: tuple[str, ...] = ()


class Entrypoint(NamedTuple):
    """The empty exec form takes away what the base has."""

    origin: Origin
    command: Command


class Env(NamedTuple):
    """Variables in their order."""

    origin: Origin
    pairs: tuple[tuple[str, str], ...]


class Expose(NamedTuple):
    """``PORT[-PORT][/PROTOCOL]`` each."""

    origin: Origin
    ports: tuple[str, ...]


class Healthcheck(NamedTuple):
    """``command`` is None for NONE. Durations are as written, and '' where not given; so is ``retries``."""

    origin: Origin
    command: Command | None
    interval: str = ""
    timeout: str = ""
    start_period: str = ""
    start_interval: str = ""
    retries: str = ""


class Label(NamedTuple):
    """Labels in their order."""

    origin: Origin
    pairs: tuple[tuple[str, str], ...]


class Maintainer(NamedTuple):
    """The image's author."""

    origin: Origin
    name: str


class OnBuild(NamedTuple):
    """``trigger`` is an instruction, heredocs included, for `parse.parse_trigger` in a build from this image."""

    origin: Origin
    trigger: str


class Run(NamedTuple):
    """``mounts`` are the values of --mount in their order; network and security are '' where not given."""

    origin: Origin
    command: Command
    mounts: tuple[str, ...] = ()
    network: str = ""
    security: str = ""
    heredocs: tuple[Heredoc, ...] = ()


    @property
    def document(self) -> Heredoc | None:
        """The heredoc that is all of the command. If its data begins with ``#!`` it is a program to be executed, else
        a script for the shell."""
        if isinstance(self.command, str) and len(self.heredocs) == 1 and len(self.command.split()) == 1:
            return self.heredocs[0]
        return None

    @property
    def script(self) -> str:
        """What the shell is given. Raises TypeError for the exec form."""
        if not isinstance(self.command, str):
            raise TypeError("the exec form has no shell")
        document = self.document
        if document is not None:
            return document.data
        return self.command + "".join(f"\n{heredoc.content}{heredoc.name}" for heredoc in self.heredocs)


class Shell(NamedTuple):
    """The words before a command of the shell form."""

    origin: Origin
    words: tuple[str, ...]


class StopSignal(NamedTuple):
    """A signal's name or number."""

    origin: Origin
    signal: str


class User(NamedTuple):
    """``USER[:GROUP]``, names or numbers."""

    origin: Origin
    user: str


class Volume(NamedTuple):
    """Paths in the container."""

    origin: Origin
    paths: tuple[str, ...]


class Workdir(NamedTuple):
    """A path, absolute or below the one before."""

    origin: Origin
    path: str


Instruction = (
    Add | Arg | Cmd | Copy | Entrypoint | Env | Expose | Healthcheck | Label | Maintainer | OnBuild | Run | Shell
    | StopSignal | User | Volume | Workdir
)  # fmt: skip


def keyword(instruction: Instruction) -> str:
    """The instruction's name: COPY, STOPSIGNAL …"""
    return type(instruction).__name__.upper()


class Stage(NamedTuple):
    """``name`` is in small letters, or ''; ``base`` and ``platform`` ('' where not given) are not expanded."""

    number: int
    name: str
    base: str
    platform: str
    instructions: tuple[Instruction, ...]
    origin: Origin


class Containerfile(NamedTuple):
    """``directives`` are syntax, escape and check, where given; ``global_args`` are those before the first FROM.

    ``escape`` is the character that escapes, for `expand`.
    """

    name: str
    directives: dict[str, str]
    escape: str
    global_args: tuple[Arg, ...]
    stages: tuple[Stage, ...]
