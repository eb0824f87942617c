"""What a Containerfile says: lines, flags, heredocs, and the arguments of each instruction."""

from __future__ import annotations

import pytest

from rootless.containerfile import model
from rootless.containerfile.origin import ContainerfileError
from rootless.containerfile.parse import parse, parse_trigger


def only(text: str) -> model.Instruction:
    """The instruction behind a FROM."""
    stages = parse(f"FROM scratch\n{text}".encode(), "Containerfile").stages
    assert len(stages) == 1
    [found] = stages[0].instructions
    return found


def test_stages() -> None:
    found = parse(
        b"ARG V=1 W\nFROM --platform=$BUILDPLATFORM busybox:$V AS First\nRUN true\nfrom first as second-2\nFROM x",
        "Containerfile")  # fmt: skip
    assert [arg.pairs for arg in found.global_args] == [(("V", "1"), ("W", None))]
    assert [stage[:4] for stage in found.stages] == [
        (0, "first", "busybox:$V", "$BUILDPLATFORM"), (1, "second-2", "first", ""), (2, "", "x", "")]
    assert [len(stage.instructions) for stage in found.stages] == [1, 0, 0]


@pytest.mark.parametrize(
    ("text", "directives", "escape"),
    [
        ("# syntax=a/b:1\n#check = skip=all\nFROM x", {"syntax": "a/b:1", "check": "skip=all"}, "\\"),
        ("# ESCAPE=`\nFROM x", {"escape": "`"}, "`"),
        ("\ufeff# escape=`\r\nFROM x\r\n", {"escape": "`"}, "`"),
        ("# a comment\n# escape=`\nFROM x", {}, "\\"),
        ("\n# escape=`\nFROM x", {}, "\\"),
        ("# unknown=1\n# escape=`\nFROM x", {}, "\\"),
    ],
)  # fmt: skip
def test_directives(text: str, directives: dict[str, str], escape: str) -> None:
    found = parse(text.encode(), "Containerfile")
    assert (found.directives, found.escape) == (directives, escape)


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ("RUN echo a && \\\n    echo b", "echo a &&     echo b"),
        ("RUN echo a \\  \n # comment \\\n\n\t\n  b", "echo a   b"),
        ("RUN echo a\\\r\nb\r\n", "echo ab"),
        ("run   echo  a  ", "echo  a"),
        ("\tRUN\techo a", "echo a"),
        ("RUN echo a\\\\", "echo a\\\\"),
        ("RUN \\\n\\\necho a", "echo a"),
        ("RUN echo a \\", "echo a"),
        ("# no\nRUN echo '#' # yes", "echo '#' # yes"),
        ('RUN ["a", "b c"]', ("a", "b c")),
        ('RUN [ "a" ] ', ("a",)),
        ("RUN ['a']", "['a']"),
        ('RUN ["a"] && b', '["a"] && b'),
        ("RUN [ -f x ] || true", "[ -f x ] || true"),
        (r'RUN ["a\ud800\"\u00e9"]', ('a\ufffd"é',)),
        ("RUN -- --help", "--help"),
    ],
)
def test_run(text: str, command: model.Command) -> None:
    found = only(text)
    assert isinstance(found, model.Run)
    assert found.command == command


def test_the_escape_directive_chooses_what_continues_a_line() -> None:
    found = parse(b"# escape=`\nFROM x\nCOPY a `\n  C:\\\nENV A=b` c", "Containerfile").stages[0].instructions
    assert isinstance(found[0], model.Copy)
    assert found[0].sources == ("a",)
    assert found[0].destination == "C:\\"
    assert isinstance(found[1], model.Env)
    assert found[1].pairs == (("A", "b` c"),)


def test_flags_of_run() -> None:
    found = only(
        "RUN --mount=type=cache,target=/a --network=none \\\n --mount='type=bind,src=a b' --security=insecure true")
    assert found == model.Run(
        found.origin, "true", ("type=cache,target=/a", "type=bind,src=a b"), "none", "insecure")  # fmt: skip


@pytest.mark.parametrize(
    ("text", "script", "names"),
    [
        ("RUN <<EOF\necho a\n\techo b\nEOF\n", "echo a\n\techo b\n", ["EOF"]),
        ("RUN <<-EOF\n\t\techo a\n\tEOF\n", "echo a\n", ["EOF"]),
        ("RUN <<EOF\n#!/bin/x\nEOF", "#!/bin/x\n", ["EOF"]),
        ("RUN cat <<A > /a && cat <<-'B' > /b\n1\nA\n\t2\n\tB\n", "cat <<A > /a && cat <<-'B' > /b\n1\nA\n\t2\nB",
         ["A", "B"]),
        ("RUN sh <<EOF \\\n -x\n# no comment\n\nEOF", "sh <<EOF  -x\n# no comment\n\nEOF", ["EOF"]),
        ("RUN 3<<EOF\nEOF", "", ["EOF"]),
        ("RUN echo '<<EOF' \"<<EOF\" a<<EOF << EOF <<<EOF", "echo '<<EOF' \"<<EOF\" a<<EOF << EOF <<<EOF", []),
        ("RUN echo $((1<<2))", "echo $((1<<2))", []),
        ("RUN <<EOF\r\na\r\nEOF\r\n", "a\r\n", ["EOF"]),
    ],
)  # fmt: skip
def test_heredocs_of_run(text: str, script: str, names: list[str]) -> None:
    found = only(text)
    assert isinstance(found, model.Run)
    assert [heredoc.name for heredoc in found.heredocs] == names
    assert found.script == script
    assert (found.document is not None) == (found.command in ("<<EOF", "<<-EOF", "3<<EOF"))


def test_heredocs_of_copy() -> None:
    found = only('COPY --chown=1:2 a <<EOF <<-"two words" b <<\'X\'Y /to/\n$a\nEOF\n\tb\n\ttwo words\nc\nXY\n')
    assert isinstance(found, model.Copy)
    # BuildKit splits at spaces whatever quotes there are, and so a name with a space is none.
    assert found.sources == ("a", '<<-"two', 'words"', "b")


def test_documents_of_copy() -> None:
    found = only("COPY --chown=1:2 a <<EOF <<-\"T\" b <<'X'Y /to/\n$a\nEOF\n\tb\n\tT\nc\nXY\n")
    assert found == model.Copy(
        found.origin, ("a", "b"),
        (model.Heredoc("EOF", "$a\n", True, False), model.Heredoc("T", "\tb\n", False, True),
         model.Heredoc("XY", "c\n", False, False)),
        "/to/", chown="1:2")  # fmt: skip
    assert found.documents[1].data == "b\n"


def test_copy_and_add() -> None:
    found = only("COPY --from=x --chmod=0755 --link --parents=false --exclude=*.a --exclude=b a b /c")
    assert found == model.Copy(
        found.origin, ("a", "b"), (), "/c", "x", "", "0755", True, False, ("*.a", "b"))  # fmt: skip
    found = only('ADD --checksum=sha256:1 --keep-git-dir=TRUE --unpack=false --chown=$U ["a b", "/c d/"]')
    assert found == model.Add(
        found.origin, ("a b",), (), "/c d/", "$U", checksum="sha256:1", keep_git_dir=True, unpack=False)  # fmt: skip
    found = only("ADD a b")
    assert isinstance(found, model.Add)
    assert found.unpack is None


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("ENV a=b", (("a", "b"),)),
        ("ENV a=b c='d e' f=\"g\\\" h\" i=j\\ k", (("a", "b"), ("c", "'d e'"), ("f", '"g\\" h"'), ("i", "j\\ k"))),
        ("ENV a  b  'c' d=e", (("a", "b  'c' d=e"),)),
        ("ENV a=", (("a", ""),)),
        ("ENV a=b=c", (("a", "b=c"),)),
        ('LABEL "a b"=c', (('"a b"', "c"),)),
        ("LABEL a b", (("a", "b"),)),
        ("ARG a b=c d=\"e f\"", (("a", None), ("b", "c"), ("d", '"e f"'))),
    ],
)  # fmt: skip
def test_pairs(text: str, pairs: tuple[tuple[str, str | None], ...]) -> None:
    found = only(text)
    assert isinstance(found, (model.Env, model.Label, model.Arg))
    assert found.pairs == pairs


def test_the_rest() -> None:
    origin = only("CMD x").origin
    examples: list[tuple[str, model.Instruction]] = [
        ("CMD a b", model.Cmd(origin, "a b")),
        ("CMD", model.Cmd(origin, ())),
        ("CMD []", model.Cmd(origin, ())),
        ('ENTRYPOINT ["a"]', model.Entrypoint(origin, ("a",))),
        ("EXPOSE 80 90-91/udp $P", model.Expose(origin, ("80", "90-91/udp", "$P"))),
        ("HEALTHCHECK none", model.Healthcheck(origin, None)),
        ("HEALTHCHECK --interval=5s --retries=3 CMD a b", model.Healthcheck(origin, "a b", "5s", retries="3")),
        ('HEALTHCHECK --timeout=5s --start-period=1m --start-interval=1s CMD ["a"]',
         model.Healthcheck(origin, ("a",), "", "5s", "1m", "1s")),
        ("MAINTAINER A <a@b>", model.Maintainer(origin, "A <a@b>")),
        ("ONBUILD  run echo a", model.OnBuild(origin, "run echo a")),
        ("ONBUILD COPY <<E /x\na\nE\n", model.OnBuild(origin, "COPY <<E /x\na\nE")),
        ('SHELL ["a", "-c"]', model.Shell(origin, ("a", "-c"))),
        ("STOPSIGNAL SIGQUIT", model.StopSignal(origin, "SIGQUIT")),
        ("USER a:b", model.User(origin, "a:b")),
        ('VOLUME ["/a b"]', model.Volume(origin, ("/a b",))),
        ("VOLUME /a /b", model.Volume(origin, ("/a", "/b"))),
        ("WORKDIR /a b", model.Workdir(origin, "/a b")),
    ]  # fmt: skip
    for text, expected in examples:
        assert only(text)._replace(origin=origin) == expected, text


def test_triggers() -> None:
    found = only("ONBUILD COPY <<E /x\n$a\nE\n")
    assert isinstance(found, model.OnBuild)
    inner = parse_trigger(found.trigger, "the base image's ONBUILD")
    assert isinstance(inner, model.Copy)
    assert inner.documents[0].content == "$a\n"
    with pytest.raises(ContainerfileError, match="a trigger is one instruction"):
        parse_trigger("RUN a\nRUN b", "x")
    with pytest.raises(ContainerfileError, match="FROM cannot be a trigger"):
        parse_trigger("FROM x", "x")


@pytest.mark.parametrize(
    ("text", "message", "caret", "hint"),
    [
        ("FROM x\n  RUNN foo", '2:3: unknown instruction "RUNN"', "  ^", "did you mean RUN?"),
        ("FROM x\nxyzzy foo", '2:1: unknown instruction "xyzzy"', "^", ""),
        ("", "1:1: there are no instructions", "^", "begin with FROM"),
        ("# a\nARG x", "1:1: there is no FROM", "^", "begin with FROM"),
        ("RUN x\nFROM y", "1:1: RUN stands before the first FROM", "^", "begin with FROM"),
        ("FROM", "1:5: FROM needs an image", "    ^", "write FROM"),
        ("FROM a b", "1:6: FROM takes an image, or", "     ^", "write FROM"),
        ("FROM a AS 1", "1:11: '1' cannot name a stage", "          ^", "use letters"),
        ("FROM x\nCOPY --frm=x a b", "2:6: COPY has no flag --frm", "     ^", "did you mean --from?"),
        ("FROM x\nUSER --x=x a", "2:6: USER has no flag --x", "     ^", "it takes no flags"),
        ("FROM x\nCOPY --from a b", "2:6: --from needs a value", "^", "write --from=VALUE"),
        ("FROM x\nCOPY --link=no a b", "--link is true or false, not 'no'", "^", ""),
        ("FROM x\nCOPY --from=a --from=b a b", "--from is given twice", "^", ""),
        ("FROM x\nCOPY a", "2:6: COPY needs a source and a destination", "     ^", "write COPY SOURCE"),
        ("FROM x\nENV a", "2:5: ENV a has no value", "    ^", "write ENV a=VALUE"),
        ("FROM x\nENV a=b \\\n   c", "3:4: 'c' has no '='", "   ^", "write NAME=VALUE"),
        ("FROM x\nENV =b", "has no name", "    ^", "write NAME=VALUE"),
        ("FROM x\nRUN a \\\n  cat <<EOF\nb", "3:7: the heredoc 'EOF' has no end", "      ^", "write EOF on a line"),
        ("FROM x\nCMD [1]", "2:5: the list has something that is no string", "    ^", "write ["),
        ("FROM x\nRUN []", "2:5: RUN needs a command", "    ^", ""),
        ("FROM x\nSHELL a", "2:7: SHELL needs a list of words", "      ^", "write SHELL ["),
        ("FROM x\nHEALTHCHECK x", "HEALTHCHECK is CMD or NONE, not 'x'", "^", "write HEALTHCHECK CMD"),
        ("FROM x\nONBUILD FROM y", "FROM cannot be a trigger", "^", ""),
        ("FROM x\nONBUILD CPY y z", '2:9: unknown instruction "CPY"', "        ^", "did you mean COPY?"),
        ("FROM x\nRUN a\0b", "2:6: there is a NUL byte", "     ^", ""),
        ("FROM x\nRUN \udcff", "2:5: the text is not UTF-8", "    ^", "save the file as UTF-8"),
        ("# escape=x\nFROM x", "1:1: 'x' cannot escape", "^", "choose"),
        ("# escape=`\n# escape=`\nFROM x", "2:1: the directive 'escape' is given twice", "^", ""),
        ("FROM x\nRUN " + "a" * 70000, "2:1: the line is longer than 65535 bytes", "^", "COPY it"),
        ("FROM x\n" + "#" * (4 << 20), "the file is larger than 4 MiB", "^", ""),
        ("FROM x\n" + "CMD\n" * 10000, "there are more than 10000 instructions", "^", ""),
        ("FROM x\nCOPY <<EOF <<EOF\nEOF\nEOF", "a heredoc cannot be the destination", "^", ""),
        ("FROM x\nCOPY --from=x <<EOF /\nEOF", "a heredoc does not come from another image", "^", ""),
        ('FROM x\nCOPY <<"../a" /\n../a', "'../a' cannot be a file's name", "^", ""),
        ('FROM x\nVOLUME [""]', "a path is empty", "^", ""),
        ("<html>", 'unknown instruction "<html>"', "^", "is this a Containerfile?"),
    ],
)
def test_errors(text: str, message: str, caret: str, hint: str) -> None:
    with pytest.raises(ContainerfileError) as caught:
        parse(text.encode("utf-8", "surrogateescape"), "dir/Containerfile")
    error = caught.value
    assert str(error).startswith("cannot read dir/Containerfile:")
    assert message in str(error)
    line, below = error.excerpt
    assert below.endswith("^")
    assert below.strip() == "^"
    assert caret == "^" or below == f"    {caret}"
    assert len(line) <= 104
    assert error.hint.startswith(hint) if hint != "COPY it" else hint in error.hint


def test_the_caret_of_a_long_line_stands_below_its_place() -> None:
    with pytest.raises(ContainerfileError) as caught:
        parse(b"FROM x\nENV " + b"a=b " * 100 + b"\twrong " + b"c=d " * 100, "C")
    line, below = caught.value.excerpt
    assert line[below.index("^"):].startswith("wrong")
