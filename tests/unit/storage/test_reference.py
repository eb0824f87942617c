"""References against the grammar of distribution/reference, written out as a regular expression here."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage import reference
from storage.errors import StorageError
from storage.reference import parse

DIGEST = "sha256:" + "0a" * 32
HOST = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
GRAMMAR = re.compile(
    rf"(?:(?:{HOST}(?:\.{HOST})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?/)?{COMPONENT}(?:/{COMPONENT})*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@sha256:[0-9a-f]{64}|@sha512:[0-9a-f]{128})?")

components = st.from_regex(COMPONENT, fullmatch=True).filter(lambda text: len(text) < 60)
hosts = st.sampled_from(
    ["docker.io", "quay.io", "localhost", "localhost:5000", "[::1]:443", "10.0.0.1:5000", "UPPER", "a-b.c"])
tags = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", fullmatch=True).filter(str.isascii)


@pytest.mark.parametrize(("text", "full"), [
    ("alpine", "docker.io/library/alpine:latest"),
    ("alpine:3.20", "docker.io/library/alpine:3.20"),
    ("library/alpine", "docker.io/library/alpine:latest"),
    ("user/app", "docker.io/user/app:latest"),
    ("docker.io/alpine", "docker.io/library/alpine:latest"),
    ("index.docker.io/alpine", "docker.io/library/alpine:latest"),
    ("docker.io/a/b/c:1", "docker.io/a/b/c:1"),
    ("localhost/app", "localhost/app:latest"),
    ("localhost:5000/app:v1", "localhost:5000/app:v1"),
    ("quay.io/org/app", "quay.io/org/app:latest"),
    ("[::1]:5000/app", "[::1]:5000/app:latest"),
    ("[2001:db8::1]/app", "[2001:db8::1]/app:latest"),
    ("Upper/app", "Upper/app:latest"),
    (f"alpine@{DIGEST}", f"docker.io/library/alpine@{DIGEST}"),
    (f"alpine:3@{DIGEST}", f"docker.io/library/alpine:3@{DIGEST}"),
    ("a.b--c__d_e", "docker.io/library/a.b--c__d_e:latest"),
])
def test_parse(text: str, full: str) -> None:
    assert str(parse(text)) == full
    assert str(parse(full)) == full
    assert parse(text) == parse(full)


@pytest.mark.parametrize("text", [
    "", " ", ":", "@", "/", "a:", ":a", "a@", "@" + DIGEST, "a//b", "/a", "a/", "Alpine", "docker.io/Alpine", "a/B",
    "a..b", "a.-b", "a___b", "-a", "a-", "_a", "a_", ".a", "a:.b", "a:-b", "a:" + "x" * 129, "a b", "a\nb", "a\0b",
    "a\x1b[31m", "á", "а", "a:é", "a@sha256:abc", "a@sha256:" + "A" * 64, "a@md5:" + "a" * 32, "a@sha256:../../x",
    f"a@{DIGEST}@{DIGEST}", "0" * 64, "host:port/a", "host:99999/a", "host:/a", "[::1/a", "[]/a", "[x]/a",
    "-host.io/a", "host-.io/a", "a..b/c",
    "https://docker.io/alpine", "../a", "a/../b", "x" * 256, "docker.io/" + "a/" * 127 + "aa", "²", "a:²", "h.io:١/a",
])
def test_refuses(text: str) -> None:
    with pytest.raises(StorageError, match="invalid reference format"):
        parse(text)


@given(hosts | st.none(), st.lists(components, min_size=1, max_size=4), tags | st.none(), st.booleans())
def test_parses_every_valid_reference(host: str | None, path: list[str], tag: str | None, pinned: bool) -> None:
    text = "/".join([*([host] if host else []), *path]) + (f":{tag}" if tag else "") + (f"@{DIGEST}" if pinned else "")
    looks_like_host = host is None and len(path) > 1 and ("." in path[0] or path[0] == "localhost")
    if len("/".join(path)) > 255 or re.fullmatch("[0-9a-f]{64}", text) or looks_like_host:
        return
    found = parse(text)
    assert str(parse(str(found))) == str(found)
    assert found.tag == (tag or (None if pinned else "latest"))
    assert found.digest == (DIGEST if pinned else None)
    assert found.repository.endswith(path[-1])
    if host and host != "docker.io":
        assert found.registry == host


@given(st.text(alphabet="abAB01:/@.-_[] \n", max_size=40) | st.text(max_size=20))
def test_accepts_nothing_outside_the_grammar(text: str) -> None:
    try:
        parse(text)
    except StorageError:
        return
    assert GRAMMAR.fullmatch(text)


@pytest.mark.parametrize("text", [
    "a" * (1 << 20), "a/" * (1 << 19), "@" * (1 << 20), ":" * (1 << 20), "-" * (1 << 20), "a" * 900 + "A",
    "a/" * 10_000 + "a", "a__" * 300, "[" + ":" * 1000 + "/a", "é" * (1 << 20), "a" + "-" * 1000,
])
def test_hostile_names_are_refused_at_once(text: str) -> None:
    started = time.perf_counter()
    with pytest.raises(StorageError) as caught:
        parse(text)
    assert time.perf_counter() - started < 0.05
    assert len(str(caught.value)) < 300


def test_messages_are_printable() -> None:
    with pytest.raises(StorageError) as caught:
        parse("a\x1b]0;title\x07")
    assert caught.value.message.isprintable()


@pytest.mark.parametrize(("text", "short"), [
    ("alpine", True), ("library/alpine", True), ("a:1", True), ("localhost/a", False), ("a.b/c", False),
    ("a:1/c", False)])
def test_is_short(text: str, short: bool) -> None:
    assert reference.is_short(text) is short
