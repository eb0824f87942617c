"""Rules for devices against a machine that runs the filter's instructions."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootless.cgroups import devices
from rootless.errors import RootlessError

BLOCK, CHARACTER = 1, 2
MKNOD, READ, WRITE = 1, 2, 4


def run(program: bytes, kind: int, access: int, major: int, minor: int) -> bool:
    """What the program decides for a request: an interpreter of the instructions that it may have."""
    context = struct.pack("III", access << 16 | kind, major, minor)
    registers = [0] * 6
    position = 0
    while True:
        opcode, pair, offset, number = struct.unpack_from("BBhi", program, position * 8)
        target, source = pair & 15, pair >> 4
        position += 1
        match opcode:
            case 0x61:
                assert source == 1 and registers[1] == 0
                registers[target] = struct.unpack_from("I", context, offset)[0]
            case 0x54:
                registers[target] &= number
            case 0x74:
                registers[target] >>= number
            case 0xBC:
                registers[target] = registers[source]
            case 0xB7:
                registers[target] = number
            case 0x15:
                position += offset if registers[target] == number else 0
            case 0x55:
                position += offset if registers[target] != number else 0
            case 0x95:
                return bool(registers[0])
            case _:
                pytest.fail(f"unknown instruction {opcode:#x}")


def model(rules: list[dict[str, Any]], kind: int, access: int, major: int, minor: int) -> bool:
    """The same by the words of the documentation."""
    if access == MKNOD:
        return True
    if kind == CHARACTER and ((major, minor) in {(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2)}):
        return True
    if kind == CHARACTER and major == 136:
        return True
    for rule in reversed(rules):
        bits = sum({"m": MKNOD, "r": READ, "w": WRITE}[letter] for letter in set(rule.get("access") or "rwm"))
        same = {"a": kind, "b": BLOCK, "c": CHARACTER}[rule.get("type", "a")] == kind
        same = same and rule.get("major", major) == major and rule.get("minor", minor) == minor
        if same and (access & ~bits == 0 if rule.get("allow") else access & bits):
            return bool(rule.get("allow"))
    return False


NUMBERS = st.sampled_from([0, 1, 3, 5, 8, 10, 136, 229])
RULES = st.lists(
    st.fixed_dictionaries(
        {"allow": st.booleans()},
        optional={
            "type": st.sampled_from("abc"),
            "major": NUMBERS,
            "minor": NUMBERS,
            "access": st.sampled_from(["r", "w", "m", "rw", "rm", "wm", "rwm", ""]),
        },
    ),
    max_size=6,
)


@given(RULES, st.sampled_from([BLOCK, CHARACTER]), st.integers(1, 7), NUMBERS, NUMBERS)
def test_the_filter_decides_as_the_rules_say(
    rules: list[dict[str, Any]], kind: int, access: int, major: int, minor: int
) -> None:
    program = devices.compile_filter(devices.parse(rules))
    assert run(program, kind, access, major, minor) == model(rules, kind, access, major, minor)


@given(RULES)
def test_rules_that_deny_nothing_need_no_filter(rules: list[dict[str, Any]]) -> None:
    if devices.allow_all(devices.parse(rules)) and rules:
        assert all(
            model(rules, kind, access, major, 7)
            for kind in (BLOCK, CHARACTER) for access in range(1, 8) for major in (1, 8)
        )  # fmt: skip


@pytest.mark.parametrize(
    ("rules", "free"),
    [
        ([], True),
        ([{"allow": True}], True),
        ([{"allow": False}, {"allow": True, "access": "rwm"}], True),
        ([{"allow": True, "type": "c"}], False),
        ([{"allow": True}, {"allow": False, "type": "b"}], False),
        ([{"allow": False}], False),
    ],
)
def test_when_everything_is_allowed(rules: list[dict[str, Any]], free: bool) -> None:
    assert devices.allow_all(devices.parse(rules)) == free


@pytest.mark.parametrize(
    "rule",
    ["x", {"allow": 1}, {"type": "z"}, {"access": "x"}, {"access": 3}, {"major": "1"}, {"minor": -2}, {"major": True}],
)
def test_wrong_types_are_refused(rule: object) -> None:
    with pytest.raises((RootlessError, TypeError)) as caught:
        devices.parse([rule])
    assert isinstance(caught.value, RootlessError)
