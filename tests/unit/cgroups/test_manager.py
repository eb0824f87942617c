"""The forms of cgroupsPath, of scopes' names, and what cannot be asked for together."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootless.cgroups import manager, systemd
from rootless.cgroups.manager import Wish, of_spec
from rootless.errors import RootlessError


def wish(path: str, *, systemd_form: bool = True) -> Wish:
    return of_spec("box", path, {}, systemd_form=systemd_form, disabled=False)


@pytest.mark.parametrize(
    ("path", "slice_name", "unit"),
    [
        ("user.slice:libpod:abc", "user.slice", "libpod-abc.scope"),
        (":cri-containerd:abc", "", "cri-containerd-abc.scope"),
        ("system.slice::abc", "system.slice", "abc.scope"),
        ("a-b.slice:x:y.scope", "a-b.slice", "x-y.scope"),
        ("user.slice:x:a+b", "user.slice", r"x-a\x2bb.scope"),
        ("", "", "rootless-box.scope"),
    ],
)
def test_the_form_of_systemd(path: str, slice_name: str, unit: str) -> None:
    found = wish(path)
    assert (found.manager, found.parent, found.unit_name()) == ("systemd", slice_name, unit)


@pytest.mark.parametrize("path", ["/a/b", "a", "a:b", "a:b:c:d", "user.slice:x:", "user:x:y", "u.slice:../x:y"])
def test_other_forms_are_refused_with_systemd(path: str) -> None:
    with pytest.raises(RootlessError):
        wish(path)


def test_paths() -> None:
    assert wish("/a/b/", systemd_form=False).path == "/a/b"
    assert wish("a/b", systemd_form=False).path == "a/b"
    for path in ("/a/../b", "..", "a/./b", "/a\nb", "a\0b"):
        with pytest.raises(RootlessError):
            wish(path, systemd_form=False)


@pytest.mark.parametrize(
    "asked",
    [
        Wish("x", mode="disabled", parent="/x"),
        Wish("x", mode="split", parent="/x"),
        Wish("x", manager="cgroupfs", parent="x.slice"),
        Wish("x", manager="systemd", parent="/x"),
        Wish("x", manager="docker"),
    ],
)
def test_contradictions(asked: Wish) -> None:
    with pytest.raises(RootlessError):
        manager.choose(asked)


def test_no_group_where_none_is_wanted() -> None:
    for asked in (Wish("x", mode="disabled"), Wish("x", manager="disabled")):
        assert manager.choose(asked).kind == "none"
    location = manager.choose(Wish("x", mode="disabled"))
    manager.refuse_unenforced(location, {"pids.max": "5"})  # an rlimit holds it
    with pytest.raises(RootlessError, match="cannot limit memory"):
        manager.refuse_unenforced(location, {"pids.max": "5", "memory.max": "5"})
    with pytest.raises(RootlessError, match="devices"):
        manager.refuse_unenforced(location, {}, [(False, 0, -1, -1, 7)])


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0/"), min_size=1, max_size=20))
def test_names_of_units_have_plain_characters(name: str) -> None:
    escaped = systemd.escape(name)
    assert escaped.isascii() and all(char.isalnum() or char in ":_.\\-" for char in escaped)
    decoded = escaped.encode().decode("unicode_escape").encode("latin-1").decode()
    assert decoded == name or "\\" in name
