"""Capabilities of a container, and the paths it does not see."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootless.errors import UsageError
from rootless.security import capabilities, defaults
from rootless.security.capabilities import DEFAULT, HARDENED, NAMES, compute, mask, names, parse


@pytest.mark.parametrize("text", ["net_raw", "NET_RAW", "cap_net_raw", "CAP_NET_RAW", "Cap_Net_Raw"])
def test_spellings(text: str) -> None:
    assert parse(text) == "CAP_NET_RAW"


@pytest.mark.parametrize("text", ["", "CAP_", "NET", "CAP_NET_RAWX", "a\nb", "x" * 10_000])
def test_unknown_names(text: str) -> None:
    with pytest.raises(UsageError):
        parse(text)


def test_known_numbers() -> None:
    assert (NAMES.index("CAP_SYS_ADMIN"), NAMES.index("CAP_CHECKPOINT_RESTORE"), len(NAMES)) == (21, 40, 41)
    assert len(DEFAULT) == 11 and mask(DEFAULT) == 0x800405FB


@given(st.sets(st.sampled_from(NAMES)))
def test_masks_and_names_are_inverse(wanted: set[str]) -> None:
    assert set(names(mask(wanted))) == wanted


def test_root_gets_the_default_and_nothing_inheritable() -> None:
    sets = compute([], [])
    assert sets["bounding"] == sets["effective"] == sets["permitted"] == sorted(DEFAULT)
    assert sets["inheritable"] == sets["ambient"] == []


def test_a_user_gets_only_what_was_added_as_ambient() -> None:
    sets = compute(["net_raw"], ["chown"], user_is_root=False)
    own = ["CAP_NET_RAW"]
    assert sets["effective"] == sets["permitted"] == sets["inheritable"] == sets["ambient"] == own
    assert set(sets["bounding"]) == {*DEFAULT, "CAP_NET_RAW"} - {"CAP_CHOWN"}


def test_hardened_cuts_the_bounding_set_of_a_user() -> None:
    assert compute([], [], user_is_root=False, hardened=True)["bounding"] == []
    assert compute([], [], hardened=True)["bounding"] == sorted(HARDENED)


def test_all() -> None:
    assert set(compute(["ALL"], ["SYS_ADMIN"])["bounding"]) == set(NAMES) - {"CAP_SYS_ADMIN"}
    assert compute(["kill"], ["all"])["bounding"] == ["CAP_KILL"]
    assert set(compute([], [], privileged=True)["effective"]) == set(NAMES)
    assert compute([], [], privileged=True, user_is_root=False)["effective"] == []


@pytest.mark.parametrize(("add", "drop"), [(["ALL"], ["ALL"]), (["CHOWN"], ["cap_chown"])])
def test_contradictions(add: list[str], drop: list[str]) -> None:
    with pytest.raises(UsageError):
        compute(add, drop)


@given(st.lists(st.sampled_from(NAMES)), st.lists(st.sampled_from(NAMES)), st.booleans(), st.booleans(), st.booleans())
def test_sets_are_consistent(add: list[str], drop: list[str], privileged: bool, root: bool, hardened: bool) -> None:
    if set(add) & set(drop):
        return
    sets = compute(add, drop, privileged, root, hardened)
    assert not set(sets["bounding"]) & set(drop)
    assert set(sets["effective"]) <= set(sets["permitted"]) <= set(sets["bounding"])
    assert set(sets["ambient"]) <= set(sets["permitted"]) & set(sets["inheritable"])


def test_paths_that_every_engine_hides() -> None:
    hidden = set(defaults.masked_paths())
    assert {"/proc/kcore", "/proc/keys", "/proc/interrupts", "/proc/kallsyms", "/sys/firmware"} <= hidden
    assert {"/proc/sys", "/proc/sysrq-trigger", "/proc/bus"} <= set(defaults.readonly_paths())


def test_mask_and_unmask() -> None:
    assert "/proc/kcore" not in defaults.masked_paths(unmask=["/proc/kcore"])
    assert not [path for path in defaults.masked_paths(unmask=["/proc/*"]) if path.startswith("/proc")]
    assert defaults.masked_paths(mask=["/etc/secret"], unmask=["ALL"]) == ["/etc/secret"]
    assert defaults.readonly_paths(unmask=["ALL"]) == []
    assert "/proc/sys" not in defaults.readonly_paths(unmask=["/proc/sys/"])


def test_added_default_names_are_real() -> None:
    assert set(capabilities.DEFAULT) <= set(NAMES)
