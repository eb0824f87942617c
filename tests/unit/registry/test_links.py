"""Addresses that a registry names for the next request."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootless.errors import RootlessError
from rootless.registry.links import next_link, own_path, parse_received, with_parameter
from rootless.registry.realm import origin

HOME = origin("https://registry.example:5000")
PAGE = "/v2/app/blobs/uploads/"


@pytest.mark.parametrize(
    ("link", "path"),
    [
        ("/v2/app/blobs/uploads/1?_state=a%2Fb", "/v2/app/blobs/uploads/1?_state=a%2Fb"),
        ("1?x", "/v2/app/blobs/uploads/1?x"),
        ("../1", "/v2/app/blobs/1"),
        ("https://registry.example:5000/x", "/x"),
        ("HTTPS://REGISTRY.example:5000/x", "/x"),
        ("https://registry.example/x", "/x"),
        ("http://registry.example/x", "/x"),
        ("https://registry.example:5000", "/"),
        ("/a b?c d", "/a%20b?c%20d"),
        ("/ü", "/%C3%BC"),
        ("/x#fragment", "/x"),
    ],
)
def test_own_addresses(link: str, path: str) -> None:
    assert own_path(HOME, PAGE, link, "push") == path


@pytest.mark.parametrize(
    "link",
    [
        "", "//evil.example/x", "https://evil.example/", "https://registry.example.evil.example/", "file:///x",
        "ftp://registry.example/x", "https://registry.example:5001/x", "https://u:p@registry.example:5000/",
        "https://registry.example:5000@evil.example/", "https://evil.example\\@registry.example/", "/" + "a" * 20_000,
        "https://registry.example:5000/\n", "https://registry.example:x/", "https://[::1]/", "https://2130706433/",
        "https://registry.example.:5001/", "https://registry[a",
    ],
)  # fmt: skip
def test_other_addresses_are_refused(link: str) -> None:
    with pytest.raises(RootlessError):
        own_path(HOME, PAGE, link, "push")


@pytest.mark.parametrize(
    ("header", "target"),
    [
        ("", ""),
        ('</v2/_catalog?last=b&n=1>; rel="next"', "/v2/_catalog?last=b&n=1"),
        ("</x>;rel=next", "/x"),
        ('</x>; rel="prev next"', "/x"),
        ('</x>; rel="prev", </y>; rel="next"', "/y"),
        ('</x>; title="a, <b>; rel=next"; rel=prev, </y>; REL=NEXT', "/y"),
        ('</x>; title="a\\"; rel=next"; rel=prev', ""),
        ("</x>; rel=prev; rel=next", ""),
        ("</x>", ""),
        ("</x", ""),
        ("nonsense </x>; rel=next", ""),
        ('</x>; rel="next', "/x"),
    ],
)
def test_next_link(header: str, target: str) -> None:
    assert next_link(header) == target


@given(st.text(alphabet='<>;,="\\ relnextabc/', max_size=200))
def test_any_link_is_read_in_its_own_words(header: str) -> None:
    assert next_link(header) in header


@given(st.text(max_size=60), st.text(max_size=60))
def test_what_is_followed_stays_on_the_host(page: str, link: str) -> None:
    try:
        path = own_path(HOME, "/" + page, link, "push")
    except RootlessError:
        return
    assert origin(f"https://registry.example:5000{with_parameter(path, 'digest', 'sha256:1')}") == HOME


@pytest.mark.parametrize(
    ("header", "received"),
    [("0-99", 100), ("bytes=0-99", 100), ("0-1", 2), ("0-0", None), ("", None), ("5-9", None), ("0-", None),
     ("0-x", None), ("0-²", None), ("0-" + "9" * 20, None), ("-5", None)],
)  # fmt: skip
def test_received(header: str, received: int | None) -> None:
    assert parse_received(header) == received
