"""Rules for devices (``linux.resources.devices``) as a program for the kernel's device filter.

Only root of the machine needs them, and only he may load one: in a user namespace of its own a container can make no
device node that works (mknod(2)). Source: OCI runtime-spec, config-linux.md, "Allowed Device list";
Documentation/admin-guide/cgroup-v2.rst, "Device controller"; linux/bpf.h, ``bpf_cgroup_dev_ctx``.
"""

from __future__ import annotations

import os
from _struct import pack

from rootless.errors import RootlessError
from rootless.linux import bpf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, NoReturn

_MKNOD, _READ, _WRITE = 1, 2, 4
_ALL = _MKNOD | _READ | _WRITE
_ACCESS = {"m": _MKNOD, "r": _READ, "w": _WRITE}
_ANY_TYPE, _BLOCK, _CHARACTER = 0, 1, 2
_TYPES = {"a": _ANY_TYPE, "b": _BLOCK, "c": _CHARACTER, "u": _CHARACTER}
_ANY = -1
HINT = "take CAP_MKNOD from the capabilities and allow what is given, or add a user namespace"

# The devices that every container has (config-linux.md, "Default Devices"), and making nodes, which opens nothing.
_DEFAULTS = [
    (True, _CHARACTER, _ANY, _ANY, _MKNOD), (True, _BLOCK, _ANY, _ANY, _MKNOD),
    *((True, _CHARACTER, 1, minor, _ALL) for minor in (3, 5, 7, 8, 9)),
    (True, _CHARACTER, 5, 0, _ALL), (True, _CHARACTER, 5, 1, _ALL), (True, _CHARACTER, 5, 2, _ALL),
    (True, _CHARACTER, 136, _ANY, _ALL),
]  # fmt: skip

# Instructions of the virtual machine (linux/bpf.h): opcode, registers (source << 4 | target), offset, number.
_LOAD, _AND, _SHIFT, _MOVE, _SET, _EXIT = 0x61, 0x54, 0x74, 0xBC, 0xB7, 0x95
_IF_EQUAL, _IF_DIFFERENT = 0x15, 0x55

Rule = tuple[bool, int, int, int, int]
"""(allow, type, major, minor, access)."""


def parse(rules: Sequence[object]) -> list[Rule]:
    """The rules of a Spec. Raises ``RootlessError`` for wrong types."""
    return [_rule(rule) for rule in rules]


def _rule(rule: object) -> Rule:
    if not isinstance(rule, dict):
        _refuse("an entry is not an object")
    allow = rule.get("allow", False)
    if not isinstance(allow, bool):
        _refuse("allow is neither true nor false")
    kind, letters = rule.get("type") or "a", rule.get("access") or "rwm"
    if not isinstance(kind, str) or kind not in _TYPES:
        _refuse(f"{str(kind)[:40]!r} is no type of devices")
    if not isinstance(letters, str) or not _ACCESS.keys() >= set(letters):
        _refuse(f"{str(letters)[:40]!r} is no access to a device")
    access = 0
    for letter in letters:
        access |= _ACCESS[letter]
    return allow, _TYPES[kind], _number(rule, "major"), _number(rule, "minor"), access


def _number(rule: Mapping[str, Any], key: str) -> int:
    value = rule.get(key)
    if value is None:
        return _ANY
    if not isinstance(value, int) or isinstance(value, bool) or not -1 <= value < 1 << 31:
        _refuse(f"{str(value)[:40]!r} is no {key} number")
    return value


def _refuse(why: str) -> NoReturn:
    raise RootlessError(f"cannot read the Spec: linux.resources.devices: {why}")


def allow_all(rules: Sequence[Rule]) -> bool:
    """Whether the rules deny nothing, so that no filter is needed."""
    last = next((number for number in reversed(range(len(rules))) if _is_total(rules[number])), -1)
    if last < 0:
        return not rules
    return rules[last][0] and all(rule[0] for rule in rules[last + 1 :])


def _is_total(rule: Rule) -> bool:
    return rule[1:] == (_ANY_TYPE, _ANY, _ANY, _ALL)


def compile_filter(rules: Sequence[Rule]) -> bytes:
    """The program. The default devices are allowed; else the last rule that matches counts; without one it is denied.

    A rule that allows matches a request for no more than it names, one that denies a request for any of it.
    """
    code = [
        _instruction(_LOAD, 2, 1, 0), _instruction(_AND, 2, number=0xFFFF),
        _instruction(_LOAD, 3, 1, 0), _instruction(_SHIFT, 3, number=16),
        _instruction(_LOAD, 4, 1, 4), _instruction(_LOAD, 5, 1, 8),
    ]  # fmt: skip
    for rule in (*_DEFAULTS, *reversed(rules)):
        code += _match(rule)
        if _is_total(rule):
            break
    else:
        code += [_instruction(_SET, 0, number=0), _instruction(_EXIT)]
    return b"".join(code)


def _match(rule: Rule) -> list[bytes]:
    """The instructions for one rule; those that do not match jump behind them."""
    allow, kind, major, minor, access = rule
    tests: list[tuple[int, int, int]] = []  # opcode, register, number
    before: list[bytes] = []
    if access != _ALL:
        bits, jump = (_ALL & ~access, _IF_DIFFERENT) if allow else (access, _IF_EQUAL)
        before = [_instruction(_MOVE, 1, 3), _instruction(_AND, 1, number=bits)]
        tests.append((jump, 1, 0))
    tests += [
        (_IF_DIFFERENT, register, number)
        for register, number, any_of in ((2, kind, _ANY_TYPE), (4, major, _ANY), (5, minor, _ANY))
        if number != any_of
    ]
    count = len(tests)
    jumps = [
        _instruction(opcode, register, offset=count - index + 1, number=number)
        for index, (opcode, register, number) in enumerate(tests)
    ]
    return [*before, *jumps, _instruction(_SET, 0, number=int(allow)), _instruction(_EXIT)]


def _instruction(opcode: int, target: int = 0, source: int = 0, offset: int = 0, number: int = 0) -> bytes:
    return pack("BBhi", opcode, source << 4 | target, offset, number)


def are_needed(
    rules: Sequence[Rule], own_users: bool, capabilities: Sequence[str], given: Sequence[Mapping[str, Any]]
) -> bool:
    """Whether only a filter can hold the rules.

    So it is where the container's root could make and open nodes of its own, or where not all may be done with one that
    is ``given`` (``linux.devices``). Raises ``RootlessError`` for the latter in a user namespace, which has no filter.
    """
    if allow_all(rules):
        return False
    restricted = [device for device in given if not _permit(rules, device)]
    if own_users or is_in_user_namespace():
        if restricted:
            raise RootlessError(
                f"cannot apply linux.resources.devices to {restricted[0].get('path')}: "
                "only root of the machine may load a device filter",
                "allow reading and writing, or leave the device out",
            )
        return False
    return bool(restricted) or "CAP_MKNOD" in capabilities


def _permit(rules: Sequence[Rule], device: Mapping[str, Any]) -> bool:
    """Whether a device of ``linux.devices`` may be read and written."""
    kind = _TYPES.get(device.get("type", ""))
    numbers = device.get("major"), device.get("minor")
    if kind is None:
        return True  # a pipe
    for access in (_READ, _WRITE):
        for allow, *fields, bits in (*_DEFAULTS, *reversed(rules)):
            if bits & access and all(
                field in (wanted, any_of)
                for field, wanted, any_of in zip(fields, (kind, *numbers), (_ANY_TYPE, _ANY, _ANY), strict=True)
            ):
                if not allow:
                    return False
                break
        else:
            return False
    return True


def is_in_user_namespace() -> bool:
    """Whether this process is in another user namespace than that of the machine (user_namespaces(7))."""
    with open("/proc/self/uid_map", "rb", buffering=0) as file:
        return file.read(256).split() != [b"0", b"0", b"4294967295"]


def hold(directory: str, rules: Sequence[Rule]) -> None:
    """Let the filter of the rules decide for the control group ``directory``. Raises ``RootlessError``."""
    try:
        group = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            bpf.attach_device_filter(group, compile_filter(rules))
        finally:
            os.close(group)
    except OSError as error:
        raise RootlessError(
            f"cannot apply linux.resources.devices: the kernel takes no device filter: {error.strerror}",
            HINT,
        ) from error
