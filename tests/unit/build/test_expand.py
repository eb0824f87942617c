"""Variables and quotes in instructions."""

from __future__ import annotations

import pytest

from rootless.containerfile import expand, model
from rootless.containerfile.expansion import Expander
from rootless.containerfile.origin import ContainerfileError
from rootless.containerfile.parse import parse

VARIABLES = {"x": "value", "e": "", "p": "/usr/local/lib/a.tar.gz", "sp": "a  b", "s": "a*b", "_1": "u", "n": "aXbXc"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("a $x b", "a value b"),
        ("${x}y$x-$xy$_1", "valueyvalue-u"),
        ("$", "$"),
        ("$ $/ $.", "$ $/ $."),
        ("$$x", "x"),
        ("$1a$10", "a"),
        (r"\$x \${x} \\$x \a", r"$x ${x} \value a"),
        ("'$x \\' \"$x \\\" \\$x \\n '\"", "$x \\ value \" $x \\n '"),
        ('"a\\\\b"', "a\\b"),
        ("a\\", "a"),
        ("${x:-d}${e:-d}${u:-d}", "valuedd"),
        ("${x-d}${e-d}${u-d}", "valued"),
        ("${x:+d}${e:+d}${u:+d}", "d"),
        ("${x+d}${e+d}${u+d}", "dd"),
        ("${x:?no}${e?no}", "value"),
        ("${u:-${e:-${x}z}}", "valuez"),
        ("${u:-'a}b'}${u:-\"c}$x\"}", "a}bc}value"),
        ("${u:-a\\}b}", "a}b"),
        ("${u:-a b  c}", "a b  c"),
        ("${p#*/}", "usr/local/lib/a.tar.gz"),
        ("${p##*/}", "a.tar.gz"),
        ("${p%.*}", "/usr/local/lib/a.tar"),
        ("${p%%.*}", "/usr/local/lib/a"),
        ("${p%/*}${p#/???}", "/usr/local/lib/local/lib/a.tar.gz"),
        ("${p##/usr*l}${p#/usr*l}", "ib/a.tar.gzocal/lib/a.tar.gz"),
        ("${p#x}${u#x}${e%%*}", "/usr/local/lib/a.tar.gz"),
        (r"${s#a\*}${s%\*b}", "ba"),
        ("${n/X/-}", "a-bXc"),
        ("${n//X/-}", "a-b-c"),
        ("${n//?/-}${n//*/-}", "------"),
        ("${n/X*/}${n//b*/}", "aaX"),
        (r"${p//\//-}", "-usr-local-lib-a.tar.gz"),
        (r"${p/\/usr/\}}", r"\}/local/lib/a.tar.gz"),
        ("${p/${e}l/L}", "/usr/Local/lib/a.tar.gz"),
        ("${n//X*X/}", "ac"),
    ],
)
def test_word(text: str, expected: str) -> None:
    assert expand.word(text, VARIABLES) == expected


def test_another_escape_character() -> None:
    assert expand.word("`$x C:\\$x \"`$x\\\"", VARIABLES, "`") == "$x C:\\value $x\\"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("80  90", ["80", "90"]),
        ("$sp", ["a", "b"]),
        ('"$sp"', ["a  b"]),
        ("a$sp'c d'e", ["aa", "bc de"]),
        ("$e", []),
        ("${u:-8 9}", ["8", "9"]),
        ("a\\ b", ["a b"]),
    ],
)
def test_words(text: str, expected: list[str]) -> None:
    assert expand.words(text, VARIABLES) == expected


def test_documents_keep_quotes() -> None:
    assert expand.document("it's \"$x\" '${x}' \\$x \\\\ \\n\n", VARIABLES) == "it's \"value\" 'value' $x \\ n\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("'a", "a single quote is not closed"),
        ('"a', "a double quote is not closed"),
        ("${x", "a substitution has no '}'"),
        ("${", "a substitution has no '}'"),
        ("${x:-a", "a substitution has no '}'"),
        ("${x/a", "a substitution has no '/'"),
        ("${}", "a substitution has no name"),
        ("${:-a}", "a substitution has no name"),
        ("${x=a}", "${x=…} is no substitution"),
        ("${x:#a}", "${x:#…} is no substitution"),
        ("${#x}", "${#x…} is no substitution"),
        ("${u:?you must set it}", "u: you must set it"),
        ("${u?}", "u: is not set"),
        ("${e:?}", "e: is empty"),
        (r"${x#\a}", r"the pattern '\\a' escapes 'a'"),
        ("${x:-" * 60 + "}" * 60, "more than 50 substitutions stand within each other"),
    ],
)
def test_errors(text: str, message: str) -> None:
    with pytest.raises(expand.ExpansionError) as caught:
        expand.word(text, VARIABLES)
    assert str(caught.value) == message


def test_results_are_bounded() -> None:
    variables = {"a": "a" * (1 << 20)}
    for text in ("$a" * 9, "${a//a/$a}", "${a##*a*a*a*" + "a?" * 100 + "}", "${a//?/aaaaaaaaaaaa}"):
        with pytest.raises(expand.ExpansionError, match="long"):
            expand.word(text, variables)


def evaluated(text: str) -> model.Instruction:
    found = parse(f"FROM x\n{text}".encode(), "C").stages[0].instructions[0]
    return Expander(VARIABLES, "\\").instruction(found)


def test_which_texts_have_variables() -> None:
    origin = evaluated("CMD x").origin
    document = model.Heredoc("E", "value\n", False, False)
    examples: list[tuple[str, model.Instruction]] = [
        ("ADD --checksum=$x --chown=$x --chmod=$x --exclude=$x $x '$x' $x", model.Add(
            origin, ("value", "$x"), (), "value", "value", "value", False, ("value",), "value")),
        ("COPY <<-E $x\n\t$x\n\tE", model.Copy(origin, (), (document,), "value")),
        ("COPY --from=$x a b", model.Copy(origin, ("a",), (), "b", "value")),
        ('COPY ["$x", "\\\\$x", "c d"]', model.Copy(origin, ("value", "$x"), (), "c d")),
        ("ENV $x=$x a='$x'", model.Env(origin, (("value", "value"), ("a", "$x")))),
        ("ENV a $x 'b c'", model.Env(origin, (("a", "value b c"),))),
        ('LABEL "a b"="$x"', model.Label(origin, (("a b", "value"),))),
        ("ARG a=${u:-$x} b", model.Arg(origin, (("a", "value"), ("b", None)))),
        ("EXPOSE $sp ${x}1", model.Expose(origin, ("a", "b", "value1"))),
        ("STOPSIGNAL $x", model.StopSignal(origin, "value")),
        ("USER $x:$x", model.User(origin, "value:value")),
        ("VOLUME $x /a", model.Volume(origin, ("value", "/a"))),
        ("WORKDIR $x/$e", model.Workdir(origin, "value/")),
        ("RUN --mount=type=cache,target=$x $x", model.Run(origin, "$x", ("type=cache,target=value",))),
        ("CMD $x", model.Cmd(origin, "$x")),
        ('ENTRYPOINT ["$x"]', model.Entrypoint(origin, ("$x",))),
        ("HEALTHCHECK CMD $x", model.Healthcheck(origin, "$x")),
        ("ONBUILD RUN $x", model.OnBuild(origin, "RUN $x")),
        ("MAINTAINER $x", model.Maintainer(origin, "$x")),
        ('SHELL ["$x"]', model.Shell(origin, ("$x",))),
    ]  # fmt: skip
    for text, expected in examples:
        assert evaluated(text)._replace(origin=origin) == expected, text


def test_errors_show_the_word() -> None:
    with pytest.raises(ContainerfileError) as caught:
        evaluated("COPY a \\\n  ${u:?set-u} b")
    assert str(caught.value) == "cannot build C:3:3: u: set-u"
    assert caught.value.excerpt == ("      ${u:?set-u} b", "      ^")
    with pytest.raises(ContainerfileError, match="a name is empty"):
        evaluated("ENV $e=a")
    with pytest.raises(ContainerfileError, match="in the heredoc 'E': a substitution has no name"):
        evaluated("COPY <<E /\n${}\nE")
