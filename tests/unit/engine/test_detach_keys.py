"""The keys that detach: their words, and finding them in what is typed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootless.engine.options.detach_keys import DEFAULT, Scanner, parse
from rootless.errors import UsageError


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        ("", b""),
        (DEFAULT, b"\x10\x11"),
        ("a", b"a"),
        ("CTRL-A,z,~", b"\x01z~"),
        ("ctrl-@,ctrl-[,ctrl-\\,ctrl-],ctrl-^,ctrl-_,ctrl-?", b"\x00\x1b\x1c\x1d\x1e\x1f\x7f"),
    ],
)
def test_words(text: str, codes: bytes) -> None:
    """Each word is one byte."""
    assert parse(text) == codes


@pytest.mark.parametrize("text", ["ctrl-", "ctrl-ab", "ab", "a,,b", ",", "ctrl-1", "é", "ctrl-p, ctrl-q", "\x10"])
def test_no_keys(text: str) -> None:
    """What is no key is refused, not ignored."""
    with pytest.raises(UsageError, match="--detach-keys"):
        parse(text)


@given(st.text(max_size=20))
def test_any_text_is_read_or_refused(text: str) -> None:
    """No input ends in another exception."""
    try:
        assert len(parse(text)) == (text.count(",") + 1 if text else 0)
    except UsageError:
        return


@given(st.binary(min_size=1, max_size=4), st.lists(st.binary(max_size=6), max_size=8))
def test_pieces_do_not_matter(keys: bytes, pieces: list[bytes]) -> None:
    """However the input is cut: everything before the keys is passed on, and they are found if they are there."""
    scanner, passed, detached = Scanner(keys), b"", False
    for piece in pieces:
        data, detached = scanner.feed(piece)
        passed += data
        if detached:
            break
    text = b"".join(pieces)
    assert detached == (keys in text)
    assert passed + scanner.held == text.partition(keys)[0]
    assert not scanner.held or keys.startswith(scanner.held)


@given(st.sampled_from([b"aab", b"abab", b"\x10\x11"]), st.lists(st.sampled_from([b"a", b"b", b"\x10", b"\x11"])))
def test_keys_that_begin_anew(keys: bytes, typed: list[bytes]) -> None:
    """A false start may hide the true one."""
    scanner = Scanner(keys)
    assert any([scanner.feed(key)[1] for key in typed]) == (keys in b"".join(typed))


def test_without_keys_nothing_is_held() -> None:
    """Everything passes."""
    scanner = Scanner(b"")
    assert scanner.feed(b"\x10\x11") == (b"\x10\x11", False)
    assert scanner.held == b""
