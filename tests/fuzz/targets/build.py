"""Targets: Containerfiles, the variables in them, and patterns of what a context leaves out."""

from __future__ import annotations

from rootless.build import ignore, patterns
from rootless.build.run import mounts, secrets, ssh
from rootless.containerfile import expand, model
from rootless.containerfile.expansion import Expander
from rootless.containerfile.origin import ContainerfileError
from rootless.containerfile.parse import parse, parse_trigger
from tests.fuzz.targets.target import Target, text

_VARIABLES = {"a": "value", "e": "", "PATH": "/usr/bin:/bin", "b": "aXbXc*?/", "s": " 1  2 "}


def containerfiles(data: bytes) -> None:
    """An error that shows a line that is there; or instructions, and of each what it means."""
    try:
        found = parse(data, "C")
    except ContainerfileError as error:
        assert len(error.excerpt) == 2
        assert all(line.isprintable() and len(line) < 200 for line in error.excerpt)
        raise
    expander = Expander(_VARIABLES, found.escape)
    for stage in found.stages:
        assert stage.base
        for instruction in stage.instructions:
            assert 1 <= instruction.origin.line <= data.count(b"\n") + 1
            assert "\0" not in instruction.origin.text
            if isinstance(instruction, model.Run) and isinstance(instruction.command, str):
                assert instruction.script is not None
            try:
                expander.instruction(instruction)
                if isinstance(instruction, model.OnBuild) and found.escape == "\\":
                    parse_trigger(instruction.trigger, "T")
            except ContainerfileError as error:
                assert len(str(error)) < 2000


def expansions_and_patterns(data: bytes) -> None:
    """The first byte chooses; the word that comes out, and the answers about a path, are bounded and agree."""
    word = text(data[1:])
    kind = data[0] % 4 if data else 0
    if kind == 0:
        one = expand.word(word, _VARIABLES)
        assert len(one) <= expand.LARGEST
        assert "".join(expand.words(word, _VARIABLES)) in one.replace(" ", "") or any(map(str.isspace, one))
    elif kind == 1:
        expand.document(word, _VARIABLES)
        expand.word(word, _VARIABLES, "`")
    elif kind == 2:
        pattern, _, path = word.partition("\n")
        path = patterns.clean(path)
        matcher = patterns.Pattern(pattern)
        if path and matcher.matches(path):
            assert matcher.covers(path)
            assert matcher.covers(path + "/below")
            assert matcher.reaches_below(path.rpartition("/")[0])
    else:
        lines, _, path = word.rpartition("\n")
        found = ignore.read(lines.encode("utf-8", "surrogateescape"), "I")
        path = patterns.clean(path)
        if path and not found.excludes(path) and "/" in path:
            assert found.enters(path.rpartition("/")[0])


def words_of_run(data: bytes) -> None:
    """The first byte chooses: mounts, whose targets are absolute and normal, secrets, agents."""
    word = text(data[1:])
    kind = data[0] % 3 if data else 0
    if kind == 0:
        for mount in mounts.parse_all(word.split("\n"), "/w"):
            assert mount.env or mount.target.startswith("/")
            assert "//" not in mount.target and not {".", ".."} & set(mount.target.split("/"))
            assert ".." not in mount.id.split("/")
    elif kind == 1:
        secrets.parse(word.split("\n"), {"a": ""})
    else:
        ssh.parse(word.split("\n"), {"SSH_AUTH_SOCK": "/s"})


_LONG = b"""# syntax=docker/dockerfile:1
ARG V=1
FROM --platform=$BUILDPLATFORM busybox:${V:-2} AS build
RUN --mount=type=cache,target=/x --network=none echo a && \\
  # comment
  echo 'b c'
COPY --from=build --chown=1:1 --chmod=0644 --link --parents --exclude=*.o a b* /c/
ADD --checksum=sha256:0 --keep-git-dir=true --unpack=false ["a b", "c"]
COPY <<EOF <<-"END" /d/
$a ${PATH%:*} \\$
EOF
\tx
\tEND
RUN <<EOF
echo hi
EOF
RUN cat <<A >/x && sh <<'B'
1
A
2
B
ENV a=b c="d e" f=g\\ h
ENV legacy some value
LABEL "a b"='c'
HEALTHCHECK --interval=5s --timeout=1s --start-period=1s --start-interval=1s --retries=3 CMD ["a", "\\u00e9"]
HEALTHCHECK NONE
ONBUILD RUN <<E
a
E
SHELL ["sh", "-c"]
CMD a
ENTRYPOINT ["x"]
EXPOSE 80 90/udp $s
USER a:b
VOLUME /a /b
WORKDIR /a
STOPSIGNAL 9
MAINTAINER x
"""

TARGETS = (
    Target(containerfiles, [
        _LONG, b"\xef\xbb\xbf# escape=`\r\nFROM x\r\nCOPY a `\r\n  b\r\n", b"FROM x\nRUNN a", b"FROM x\nRUN <<E\n",
        b"FROM scratch\nENV ${a:-b${e:+c}}=${PATH##*:}${b//X/}${q:?no}\n"]),
    Target(expansions_and_patterns, [
        bytes([0]) + b"a $a \"${b%%X*}\" '$a' ${e:-${q-x}} ${b//?/y} \\$", bytes([1]) + b"it's \"$a\" \\n ${e:?empty}",
        bytes([2]) + b"**/a*/[b-d]?/**\nx/ab/cc/d/e", bytes([2]) + b"a**b*\\*\na/x/b*",
        bytes([3]) + b"*\n!a/*.b\n# c\n**/x\n!x/[^y]\na/c.b"], also=(expand.ExpansionError, patterns.PatternError)),
    Target(words_of_run, [
        bytes([0]) + b"type=bind,src=a,dst=../b,rw,from=x,z\ntype=cache,target=/c,id=a/b,sharing=locked,mode=0755",
        bytes([0]) + b"type=secret,id=a,env=B,required=true\ntype=ssh,gid=2\ntype=tmpfs,target=/t,size=5m,readonly",
        bytes([1]) + b"id=a,src=/b\ntype=env,id=c", bytes([2]) + b"default\na=/b,/c"]),
)  # fmt: skip
