"""The fast parser reads what pflag reads, declines the rest, and never understands a line other than Typer does."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import typer.main
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rootless.cli import fastparse, grammar, oci_grammar, typer_main
from rootless.cli.declare import build_app
from rootless.cli.main import COMPLETION_VARIABLE
from rootless.errors import UsageError


def read(line: str) -> fastparse.Understood | None:
    return fastparse.parse(line.split(" ") if line else [], grammar)


@pytest.mark.parametrize(
    ("line", "values", "args"),
    [
        ("run alpine", {}, ["alpine"]),
        ("run -it --rm alpine sh -c ls", {"interactive": True, "tty": True, "rm": True}, ["alpine", "sh", "-c", "ls"]),
        ("run --name web alpine", {"name": "web"}, ["alpine"]),
        ("run --name=web alpine", {"name": "web"}, ["alpine"]),
        ("run --name= alpine", {"name": ""}, ["alpine"]),
        ("run --name --rm alpine", {"name": "--rm"}, ["alpine"]),
        ("run --name a --name b alpine", {"name": "b"}, ["alpine"]),
        ("run -eA=1 -e B=2 -e=C=3 --env D=4 alpine", {"env": ["A=1", "B=2", "C=3", "D=4"]}, ["alpine"]),
        ("run -ite A=1 alpine", {"interactive": True, "tty": True, "env": ["A=1"]}, ["alpine"]),
        ("run -iteA=1 alpine", {"interactive": True, "tty": True, "env": ["A=1"]}, ["alpine"]),
        ("run -e= alpine", {"env": ["="]}, ["alpine"]),
        ("run --rm=false -t=false -i=T alpine", {"rm": False, "tty": False, "interactive": True}, ["alpine"]),
        ("run --rm --rm=0 alpine", {"rm": False}, ["alpine"]),
        ("run -- alpine --rm", {}, ["alpine", "--rm"]),
        ("run alpine -- --rm", {}, ["alpine", "--", "--rm"]),
        ("run -", {}, ["-"]),
        ("run --net host --dns-opt a,b --cap-add x --cap-add y,z alpine",
         {"network": ["host"], "dns_option": ["a", "b"], "cap_add": ["x", "y", "z"]}, ["alpine"]),
        ("run -h box alpine", {"hostname": "box"}, ["alpine"]),
        ("run --tmpfs /a:size=1,mode=2 alpine", {"tmpfs": ["/a:size=1,mode=2"]}, ["alpine"]),
        ("ps -an 3", {"all": True, "last": "3"}, []),
        ("ps -n -1", {"last": "-1"}, []),
        ("container ls -q", {"quiet": True}, []),
        ("rm a -f b", {"force": True}, ["a", "b"]),
        ("rm a -- -f", {}, ["a", "-f"]),
        ("unshare ls -l", {}, ["ls", "-l"]),
        ("volume create --label a=b,c v", {"label": ["a=b,c"]}, ["v"]),
    ],
)  # fmt: skip
def test_well_formed(line: str, values: dict[str, Any], args: list[str]) -> None:
    understood = read(line)
    assert understood is not None
    assert understood[1:3] == (values, args)


@pytest.mark.parametrize(
    "line",
    ["", "--help", "run", "run --help", "run --nope alpine", "run -Z alpine", "run --name", "run -e", "ps -n x", "ps a",
     "ps --all=maybe", "nope", "volume", "volume nope", "image", "run --cap-add \"a,b\" alpine", "ps --version",
     "-- ps", "--root", "tag a", "volume create a b", "ps -v", "ps -t= x"],
)  # fmt: skip
def test_declined(line: str) -> None:
    assert read(line) is None


def test_options_of_the_program_are_read_before_and_after_the_command() -> None:
    understood = read("--root /a --log-level=debug ps --runroot /b --runtime=crun -a")
    assert understood is not None
    assert understood[1] == {"all": True}
    assert understood[3] == {"root": "/a", "log_level": "debug", "runroot": "/b", "runtime": "crun"}


def test_options_after_an_image_belong_to_its_command() -> None:
    understood = read("run alpine --root /a")
    assert understood is not None
    assert understood[2:] == (["alpine", "--root", "/a"], {})


@pytest.mark.parametrize("line", ["--version", "-v", "--log-level error --version", "--version ps"])
def test_version(line: str) -> None:
    understood = read(line)
    assert understood is not None
    assert understood[0] == grammar.VERSION


# Lines for the property: of the names of the grammar, right and wrong values, and noise.
NAMES = sorted(grammar.COMMANDS) + sorted(grammar.ALIASES) + ["nope", "volume nope", ""]
WORDS = st.sampled_from(
    ["", "-", "--", "a", "alpine", "a=b", "=", "3", "-1", "x,y", 'x,"y,z"', '"', "true", "false", "--nope", "-Z", "é"]
    + ["\udc80"]  # a byte that is not UTF-8, as Python hands it over
)


def _option(name: str, kind: str) -> st.SearchStrategy[list[str]]:
    forms = [WORDS.map(lambda value: [f"{name}={value}"]), WORDS.map(lambda value: [name, value]), st.just([name])]
    if name[:2] != "--":
        forms += [WORDS.map(lambda value: [name + value]), st.just([f"{name}i"]), st.just([f"-i{name[1:]}"])]
    return st.one_of(forms)


def _words(options: dict[str, str]) -> st.SearchStrategy[list[str]]:
    choices = [WORDS.map(lambda word: [word])] + [_option(name, kind) for name, kind in sorted(options.items())]
    return st.lists(st.one_of(choices), max_size=6).map(lambda parts: [word for part in parts for word in part])


@st.composite
def lines(draw: st.DrawFn) -> list[str]:
    name = draw(st.sampled_from(NAMES))
    entry = grammar.COMMANDS.get(grammar.ALIASES.get(name, name))
    before = draw(st.one_of(st.just([]), _words({**grammar.PERSISTENT, **grammar.ROOT})))
    after = draw(_words({**grammar.PERSISTENT, **(entry[4] if entry else {})}))
    return [*before, *(name.split(" ") if name else []), *after]


@functools.cache
def command() -> Any:
    return typer.main.get_command(build_app())


@settings(max_examples=400, deadline=None)
@example(["run", "-e=", "alpine"])
@example(["ps", "-a="])
@example(["--", "ps"])
@example(["run", "--add-host=", "alpine"])
@given(lines())
def test_typer_reads_every_line_alike(words: list[str]) -> None:
    fast = fastparse.parse(words, grammar)
    if fast is None or fast[0] == grammar.VERSION:
        return  # declined: whatever Typer makes of it is the answer
    slow = command().main(list(words), prog_name="rootless", standalone_mode=False)
    assert (slow.handler, slow.values, slow.args, slow.global_values) == fast


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("run --nope alpine", "unknown flag: --nope"),
        ("run -iZ alpine", "unknown shorthand flag: 'Z' in -iZ"),
        ("run --name", "flag needs an argument: --name"),
        ("ps --all=maybe", "invalid argument 'maybe' for '--all': neither true nor false"),
        ("ps -n x", "invalid argument for --last/-n: 'x' is not a whole number"),
        ("nope", "unrecognized command 'nope' of rootless"),
        ("volume nope", "unrecognized command 'nope' of rootless volume"),
        ("volume", "missing command"),
        ("run", "requires at least 1 arg(s), only received 0"),
        ("image exists a b", "accepts at most 1 arg(s), received 2"),
        ('run --cap-add "a alpine', "cannot read the list '\"a': unexpected end of data"),
    ],
)
def test_messages(line: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        typer_main.parse(line.split(" "), "rootless", COMPLETION_VARIABLE)
    assert caught.value.message == message
    assert caught.value.hint
    assert caught.value.exit_code == 125


def test_leading_options_are_found_where_the_rest_is_not_understood() -> None:
    words = "--log f --log-format=json run --nope box".split()
    assert fastparse.parse(words, oci_grammar) is None
    assert fastparse.leading(words, oci_grammar) == {"log": "f", "log_format": "json"}
    assert fastparse.leading(["--log"], oci_grammar) == {}
