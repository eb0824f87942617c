"""The parts of a build that need no kernel: stages as a graph, ARGs, options, outputs, and lines for the user."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rootless.build import exports, graph
from rootless.build.options import BuildOptions
from rootless.build.remote_cache import repositories
from rootless.build.variables import Arguments
from rootless.cli.build_progress import PlainScreen
from rootless.containerfile.configure import configure, directory_below, with_variables
from rootless.containerfile.parse import parse
from rootless.errors import RootlessError, UsageError


def plans(text: str, *contexts: str) -> list[graph.StagePlan]:
    stages = parse(text.encode(), "Containerfile").stages
    return graph.plan(stages, [(stage.base, stage.platform) for stage in stages], lambda word: word in contexts)


FILE = """\
FROM x AS one
FROM one AS two
RUN --mount=type=bind,from=ONE,target=/o true
FROM y AS one
FROM z
COPY --from=two /a /
COPY --from=1 /b /
RUN --mount=from=one,target=/o true
"""


def test_what_a_stage_needs() -> None:
    found = plans(FILE)
    assert [entry.needs for entry in found] == [set(), {0}, set(), {1, 2}]
    assert graph.needed(found, 3) == {0, 1, 2, 3}
    assert graph.needed(found, 1) == {0, 1}
    assert [graph.target(found, name) for name in ("", "ONE", "two", "0")] == [3, 2, 1, 0]
    assert plans(FILE, "two")[3].needs == {1, 2}, "a number is a stage, whatever its name is a context of"
    assert plans("FROM 0\nFROM 0\n")[1].needs == set(), "a base is no number"
    assert plans("FROM x\nFROM y\nCOPY --from=$Z /a /\n")[1].needs == {0}
    with pytest.raises(RootlessError, match="no such stage"):
        graph.target(found, "three")


def test_where_arguments_come_from() -> None:
    arguments = Arguments({"GIVEN": "1", "https_proxy": "p", "NEVER": "x"}, {"GLOBAL": "2", "TARGETOS": "linux"})
    arguments.declare([("GIVEN", "default"), ("GLOBAL", None), ("OWN", "3"), ("UNSET", None), ("GLOBAL2", "4")])
    assert arguments.declared == {"GIVEN": "1", "GLOBAL": "2", "OWN": "3", "GLOBAL2": "4"}
    assert arguments.for_run() == {**arguments.declared, "https_proxy": "p"}
    arguments.declare([("https_proxy", None)])
    assert arguments.for_key() == {"GIVEN": "1", "GLOBAL": "2", "OWN": "3", "GLOBAL2": "4"}


def options(values: dict[str, Any], **environ: str) -> BuildOptions:
    return BuildOptions(values, environ)


def test_times() -> None:
    assert options({}, SOURCE_DATE_EPOCH="7").epoch == 7
    assert options({"build_arg": ["SOURCE_DATE_EPOCH=8"]}, SOURCE_DATE_EPOCH="7").epoch == 8
    clamped = options({"source_date_epoch": "9"}, SOURCE_DATE_EPOCH="7")
    assert (clamped.now(), clamped.mtime(10**12), clamped.mtime(5)) == ("1970-01-01T00:00:09Z", 9 * 10**9, 5)
    assert options({"source_date_epoch": "9", "rewrite_timestamp": False}).mtime(10**12) == 10**12
    assert options({"timestamp": "0"}).mtime(10**12) == 0
    for wrong in ({"source_date_epoch": "-1"}, {"timestamp": "1", "source_date_epoch": "1"},
                  {"rewrite_timestamp": True}, {"source_date_epoch": "9" * 20}):  # fmt: skip
        with pytest.raises(UsageError):
            options(wrong)


def test_arguments_of_the_command_line(tmp_path: Path) -> None:
    file = tmp_path / "arguments"
    file.write_text("# a comment\n\nA=file\nB=file\n")
    found = options({"build_arg_file": [str(file)], "build_arg": ["B=line", "HOME", "NOT_SET"]}, HOME="/h")
    assert found.arguments == {"A": "file", "B": "line", "HOME": "/h"}
    file.write_text("A\n")
    for wrong in ({"build_arg": ["=x"]}, {"build_arg_file": [str(file)]}, {"build_arg_file": [str(tmp_path)]}):
        with pytest.raises(UsageError):
            options(wrong)


def test_choices() -> None:
    assert [options({"pull": text}).policy for text in (None, "true", "false", "never", "newer")] == [
        "missing", "always", "missing", "never", "newer"]  # fmt: skip
    assert options({"platform": ["linux/arm64/v8", "linux/amd64", "linux/amd64"]}).platforms == [
        "linux/arm64/v8", "linux/amd64"]  # fmt: skip
    assert not options({}, BUILDAH_LAYERS="0").layers and options({}, BUILDAH_FORMAT="docker").docker
    assert not options({"layers": False}).reads_cache and options({"squash": True}).reads_cache
    for wrong in ({"pull": "sometimes"}, {"format": "tar"}, {"rm": False}, {"load": False}, {"jobs": "-1"},
                  {"squash": True, "layers": True}, {"squash": True, "squash_all": True}, {"sbom": "true"},
                  {"annotation": ["x"]}, {"platform": ["linux/amd64"], "arch": "arm"}):  # fmt: skip
        with pytest.raises(UsageError):
            options(wrong)


def test_outputs() -> None:
    found = exports.parse(["dir", "type=tar,dest=x.tar", "type=oci,tar=false,dest=d", "type=image,name=a b,push=true"])
    assert [(output.kind, output.dest, output.archive) for output in found[:3]] == [
        ("local", "dir", True), ("tar", "x.tar", True), ("oci", "d", False)]  # fmt: skip
    assert (found[3].names, found[3].push) == (("a", "b"), True)
    for wrong in (["type=zip,dest=x"], ["type=local"], ["dest=x,foo=1"], ["type=tar,tar=false,dest=x"],
                  ["type=oci,tar=perhaps,dest=x"], ["-", "type=oci"]):  # fmt: skip
        with pytest.raises(UsageError):
            exports.parse(wrong)


def test_repositories_of_steps() -> None:
    assert repositories(["localhost:5000/a/b", "quay.io/x"], "--cache-to") == ["localhost:5000/a/b", "quay.io/x"]
    for wrong in ("type=registry,ref=x", "quay.io/x:1", "quay.io/x@sha256:" + "0" * 64):
        with pytest.raises(RootlessError):
            repositories([wrong], "--cache-from")


@pytest.mark.parametrize("text", [
    "EXPOSE 0", "EXPOSE 65536", "EXPOSE 2-1", "EXPOSE 80/icmp", "EXPOSE x", "STOPSIGNAL NONE", "STOPSIGNAL 65",
    "HEALTHCHECK --interval=x CMD true", "HEALTHCHECK --retries=-1 CMD true",
])  # fmt: skip
def test_values_that_are_none(text: str) -> None:
    step = parse(f"FROM x\n{text}\n".encode(), "File").stages[0].instructions[0]
    with pytest.raises(RootlessError, match="File:2:"):
        configure({}, step, cmd_is_own=False)


def test_paths_and_variables() -> None:
    assert directory_below({"WorkingDir": "/a/b"}, "../c/./d") == "/a/c/d"
    assert directory_below({}, "x") == "/x"
    assert directory_below({"WorkingDir": "/a"}, "//x/../..") == "/"
    assert with_variables(["A=1", "B=2"], [("A", "3"), ("C", "4")]) == ["A=3", "B=2", "C=4"]


def test_lines_of_stages_that_are_built_at_the_same_time() -> None:
    said: list[bytes] = []
    screen = PlainScreen(said.append, lambda: None)
    screen.stages(["a", ""], "")
    screen.step(0, 1, 2, "FROM x AS a")
    screen.output(0, b"alone\n")
    screen.step(1, 1, 2, "FROM y\x1b[2J")
    screen.output(0, b"half ")
    screen.output(1, b"other\n")
    screen.output(0, b"line\nrest")
    screen.made(0, "f" * 64)
    screen.done(0)
    screen.output(1, b"alone again\n")
    screen.close()
    assert b"".join(said).decode() == (
        "[1/2] STEP 1/2: FROM x AS a\nalone\n[2/2] STEP 1/2: FROM y\\x1b[2J\n[2/2] other\n[1/2] half line\n"
        "[1/2] rest\n[1/2] --> ffffffffffff\nalone again\n"
    )
