"""Patterns for paths, and what they leave out of a build context."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootless.build import patterns
from rootless.build.ignore import Ignore, read
from rootless.errors import RootlessError

YES_NO = [
    # pattern, what it means, what it does not
    ("a", ["a"], ["b", "a/b", "aa", "b/a"]),
    ("a/b", ["a/b"], ["a", "a/b/c", "x/a/b"]),
    ("*", ["a", ".a", "a b"], ["a/b"]),
    ("*/*", ["a/b"], ["a", "a/b/c"]),
    ("*.txt", ["a.txt", ".txt"], ["a/b.txt", "a.txt/b", "atxt"]),
    ("a*b*c", ["abc", "axbbxc", "abcc"], ["ab", "acb", "a/bc"]),
    ("a*a", ["aa", "aaa"], ["a"]),
    ("*a*", ["a", "bab"], ["b"]),
    ("?", ["a", "é"], ["", "ab", "/"]),
    ("a?c", ["abc"], ["ac", "a/c"]),
    ("[a-c]?", ["a1", "c2"], ["d1", "a"]),
    ("[^a-c]", ["d", "-"], ["a", "/", "b"]),
    (r"[\]\-a]", ["]", "-", "a"], ["b", "\\"]),
    ("[!a]", ["!", "a"], ["b"]),
    ("a.b+c$", ["a.b+c$"], ["axb+c$"]),
    (r"\*\?\[", ["*?["], ["ab["]),
    ("**", ["a", "a/b", "a/b/c", ".a"], []),
    ("**/a", ["a", "b/a", "b/c/a"], ["a/b", "ba"]),
    ("a/**", ["a/b", "a/b/c"], ["a", "b/a/c"]),
    ("a/**/b", ["a/b", "a/x/b", "a/x/y/b"], ["ab", "a/xb", "b"]),
    ("**/*.go", ["a.go", "x/a.go", "x/y/.go"], ["a.go/x"]),
    ("**/a/**/b", ["a/b", "x/a/y/z/b", "a/a/b/b"], ["b/a", "a/bb"]),
    ("**/**/a", ["a", "b/a"], ["b"]),
    ("a**b", ["ab", "ax/b", "a/b", "a/x/b"], ["axb", "a"]),
    ("a**", ["a", "ab", "ab/c", "a/b"], ["b", "ba"]),
    ("*a**b", ["aab", "xa/b", "xay/z/b"], ["xayb"]),
    ("**.pyc", ["a.pyc", ".pyc", "x/a.pyc"], ["a.pyc/b", "apyc"]),
    ("**.p*c", [".pyc", "x/.pyc"], ["a.pyc"]),
    ("a/**b", ["a/b", "a/x/b"], ["a/xb"]),
]


@pytest.mark.parametrize(("text", "yes", "no"), YES_NO)
def test_matches(text: str, yes: list[str], no: list[str]) -> None:
    pattern = patterns.Pattern(text)
    assert [path for path in [*yes, *no] if pattern.matches(path)] == yes
    for path in yes:
        assert pattern.covers(path)
        assert pattern.covers(f"{path}/x/y")
        parents = path.split("/")[:-1]
        assert all(pattern.reaches_below("/".join(parents[:size])) for size in range(len(parents) + 1))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[", "has a '[' without ']'"),
        ("[a", "has a '[' without ']'"),
        ("[]", "has ']' where a set needs a character"),
        ("[a-]", "has ']' where a set needs a character"),
        ("[-a]", "has '-' where a set needs a character"),
        ("[c-a]", "has the range c-a, which is empty"),
        ("a\\", "ends with a backslash"),
        ("a**b**c**d**e", "has too many '**' within names"),
        ("a" * 4097, "is longer than 4096 characters"),
    ],
)
def test_no_patterns(text: str, message: str) -> None:
    with pytest.raises(patterns.PatternError, match=re.escape(message)):
        patterns.Pattern(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a/../b//c/./", "b/c"), ("/a/", "a"), ("./a", "a"), ("../a", "../a"), ("a/../../b", "../b"), (".", ""), ("", "")],
)
def test_clean(text: str, expected: str) -> None:
    assert patterns.clean(text) == expected


def test_pivot() -> None:
    assert patterns.pivot("./a/./b/c/./d") == ("a", "b/c/d")
    assert patterns.pivot("./a/b") == ("", "a/b")
    assert patterns.pivot("/./a") == ("", "a")


TREE = [
    "README.md", "a/b/c.txt", "a/b/d.md", "a/keep/x.txt", "node_modules/m/index.js", "src/node_modules/n/index.js",
    "src/main.py", "src/main.pyc", ".git/HEAD", "temp1/x", "tempo", "docs/secret.txt", "docs/deep/ok.md", "#c", "!n",
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "left_out"),
    [
        ("", []),
        ("# comment\n#c\n\n  \n", []),
        (r"\#c" + "\n" + r"\!n", ["#c", "!n"]),
        ("*", TREE),
        ("*\n!src\n", [path for path in TREE if not path.startswith("src/")]),
        ("*\n!src/main.py", [path for path in TREE if path != "src/main.py"]),
        ("a\n!a/keep", ["a/b/c.txt", "a/b/d.md"]),
        ("!a/keep\na", ["a/b/c.txt", "a/b/d.md", "a/keep/x.txt"]),
        ("*.md\n!README*.md", []),
        ("**/*.md\n!README.md", ["a/b/d.md", "docs/deep/ok.md"]),
        ("**/node_modules", ["node_modules/m/index.js", "src/node_modules/n/index.js"]),
        ("node_modules/", ["node_modules/m/index.js"]),
        ("/node_modules", ["node_modules/m/index.js"]),
        ("*/node_modules/../main.pyc ", ["src/main.pyc"]),
        ("temp?\r\n.git\r\n", [".git/HEAD", "temp1/x", "tempo"]),
        ("\ufeff.git", [".git/HEAD"]),
        ("docs/**\n!docs/*/ok.md\n", ["docs/secret.txt"]),
        ("docs\n!**/ok.md\n!  docs/secret.txt", []),
        ("a/*/*.txt\n!a/b", ["a/keep/x.txt"]),
        ("..\n../x\n/\n.\n!.", []),
    ],
)
def test_ignore_files(text: str, left_out: list[str]) -> None:
    ignore = read(text.encode(), ".dockerignore")
    assert [path for path in TREE if ignore.excludes(path)] == left_out
    for path in TREE:
        if path not in left_out:
            parents = path.split("/")[:-1]
            assert all(ignore.enters("/".join(parents[: size + 1])) for size in range(len(parents)))


def test_a_file_can_have_no_patterns() -> None:
    assert not read(b"# a\n\n/\n", ".dockerignore")
    assert read(b"a", ".dockerignore")


def test_what_has_nothing_in_it_is_not_entered() -> None:
    ignore = read(b"node_modules\na\n!a/*/keep/x\n", ".dockerignore")
    assert not ignore.enters("node_modules")
    assert not ignore.enters("node_modules/a")
    assert ignore.enters("a")
    assert ignore.enters("a/b")
    assert not ignore.enters("a/b/c")
    assert ignore.enters("a/b/keep")
    assert ignore.enters("other")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a\n[", "cannot read .dockerignore: the pattern '[' has a '[' without ']'"),
        (b"!\n", "cannot read .dockerignore: '!' stands without a pattern"),
        (b"a\n" * 10_001, "cannot read .dockerignore: it has more than 10000 patterns"),
        (b"#" * (1 << 20) + b"\n", "cannot read .dockerignore: it is larger than 1 MiB"),
    ],
)
def test_errors(data: bytes, message: str) -> None:
    with pytest.raises(RootlessError) as caught:
        read(data, ".dockerignore")
    assert caught.value.message == message


ALPHABET = "ab/*?[]^-\\."
PATHS = st.lists(st.text("ab.", min_size=1, max_size=4).filter(lambda name: name.strip(".")), min_size=1, max_size=5)


def model(pattern: str, path: str) -> bool:
    """What patterns of ``*``, ``?`` and ``**`` alone mean, tried out."""
    if not pattern:
        return not path
    if pattern.startswith("**/"):
        return any(model(pattern[3:], path[at:]) for at in range(len(path)) if at == 0 or path[at - 1] == "/")
    if pattern == "**":
        return bool(path)
    if pattern[0] == "*":
        return model(pattern[1:], path) or (path[:1] not in ("", "/") and model(pattern, path[1:]))
    if pattern[0] == "?":
        return path[:1] not in ("", "/") and model(pattern[1:], path[1:])
    return path[:1] == pattern[0] and model(pattern[1:], path[1:])


NAMES = st.one_of(st.just("**"), st.text("ab*?", min_size=1, max_size=5).filter(lambda name: "**" not in name))


@given(st.lists(NAMES, min_size=1, max_size=4), PATHS)
def test_against_a_model(names: list[str], path: list[str]) -> None:
    assert patterns.Pattern("/".join(names)).matches("/".join(path)) == model("/".join(names), "/".join(path))


@given(st.lists(st.text("ab.*?", min_size=1, max_size=5).filter(lambda name: "**" not in name), min_size=1, max_size=3),
       PATHS)
def test_against_the_standard_library(names: list[str], path: list[str]) -> None:
    """pathlib's globs of one name each mean the same."""
    pattern, text = patterns.clean("/".join(names)), "/".join(path)
    if pattern and ".." not in pattern and len(pattern.split("/")) == len(path):
        assert patterns.Pattern(pattern).matches(text) == Path(text).match(pattern)


@given(st.lists(st.text(ALPHABET + "!", max_size=8), max_size=5), PATHS)
def test_any_patterns(lines: list[str], names: list[str]) -> None:
    """Whatever is written: an error of ours, or answers that agree with each other."""
    try:
        ignore = Ignore(lines, "x")
    except RootlessError:
        return
    path = "/".join(names)
    if not ignore.excludes(path):
        assert all(ignore.enters("/".join(names[:size])) for size in range(1, len(names)))


def test_time_is_bounded() -> None:
    for text in ("*a" * 1000 + "b", "**/a/" * 400 + "b", "a**b**c**d*" * 1, "[^a]*" * 500):
        pattern = patterns.Pattern(text)
        assert not pattern.covers("/".join(["a" * 255] * 16))
