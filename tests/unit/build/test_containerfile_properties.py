"""What holds for every Containerfile, and how long reading one may take."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootless.containerfile import expand, model
from rootless.containerfile.expansion import Expander
from rootless.containerfile.instructions import KEYWORDS
from rootless.containerfile.origin import ContainerfileError
from rootless.containerfile.parse import parse

NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True)
VALUES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20)
LINES = st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n\0"), max_size=12), max_size=5)


def one(text: str) -> model.Instruction:
    [found] = parse(f"FROM scratch\n{text}\n".encode(), "C").stages[0].instructions
    return Expander({}, "\\").instruction(found)


def double_quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$") + '"'


@given(st.dictionaries(NAMES, VALUES, min_size=1, max_size=4))
def test_a_quoted_value_is_what_was_quoted(pairs: dict[str, str]) -> None:
    found = one("ENV " + " \\\n  ".join(f"{name}={double_quoted(value)}" for name, value in pairs.items()))
    assert isinstance(found, model.Env)
    assert dict(found.pairs) == pairs


@given(NAMES, VALUES.filter(lambda value: "'" not in value))
def test_single_quotes_keep_everything(name: str, value: str) -> None:
    found = one(f"LABEL {name}='{value}'")
    assert isinstance(found, model.Label)
    assert found.pairs == ((name, value),)


@given(LINES)
def test_a_quoted_heredoc_is_what_was_written(lines: list[str]) -> None:
    written = "".join(f"{line}\n" for line in lines if line.rstrip("\r") != "THE-END")
    found = one(f"COPY <<'THE-END' /a\n{written}THE-END")
    assert isinstance(found, model.Copy)
    assert found.documents[0].data == written


@given(st.text(max_size=30), st.dictionaries(NAMES, VALUES, max_size=3))
def test_what_has_nothing_special_means_itself(text: str, variables: dict[str, str]) -> None:
    if not set(text) & set("$\\'\""):
        assert expand.word(text, variables) == text
        assert expand.words(text, variables) == text.split()


@given(st.lists(st.tuples(st.sampled_from(["FROM", "from", *KEYWORDS, "RUNN", "#", "", "ONBUILD RUN"]),
                          st.text(alphabet="aA=$ {}[]\"'\\`<->/:,#é\t\r", max_size=20)), max_size=6))
def test_anything_is_read_or_refused_with_its_place(statements: list[tuple[str, str]]) -> None:
    data = "\n".join(f"{keyword} {rest}" for keyword, rest in statements).encode()
    try:
        found = parse(data, "C")
    except ContainerfileError as error:
        assert str(error).startswith("cannot read C:")
        line = int(str(error).split(":")[1])
        assert 1 <= line <= data.count(b"\n") + 1
        return
    for stage in found.stages:
        for instruction in stage.instructions:
            assert model.keyword(instruction) in instruction.origin.text.upper()


MIB = 1 << 20
LARGE = {
    "one instruction of many lines": b"FROM x\nRUN a" + b" \\\n b" * (MIB // 2),
    "comments in it": b"FROM x\nRUN a \\\n" + b"#\n" * MIB + b"b\n",
    "many instructions": b"FROM x\n" + b"ENV a=b\n" * 9_000,
    "a long heredoc": b"FROM x\nCOPY <<E /a\n" + b"'$a' \\\n" * (MIB // 3) + b"E\n",
    "quotes": b"FROM x\nENV a=" + b" \\\n\"'" * (MIB // 4),
    "many heredocs": b"FROM x\nRUN " + b" <<E" * 10_000 + b"\n" + b"E\n" * 10_000,
    "flags": b"FROM x\nRUN " + b"--mount=a \\\n" * 50_000 + b" b\n",
    "spaces": b"FROM x\nCOPY " + (b" " * 60_000 + b"\\\n") * 60 + b"a b\n",
    "a line of words": b"FROM x\n" + (b"LABEL " + b"a=b " * 15_000 + b"\n") * 20,
}


@pytest.mark.parametrize("name", LARGE)
def test_large_files_take_seconds_of_the_processor(name: str) -> None:
    begun = time.process_time()
    try:
        for stage in parse(LARGE[name], "C").stages:
            for instruction in stage.instructions:
                Expander({"a": "b"}, "\\").instruction(instruction)
    except ContainerfileError:
        pass
    assert time.process_time() - begun < 20
