"""Seccomp profiles in JSON: Docker's format, and ``linux.seccomp`` of the OCI runtime specification, its subset.

Docker's adds conditions on capabilities, architecture and kernel to each rule (``includes``, ``excludes``) and lists
the architectures of every machine (``archMap``). `to_spec` answers the conditions for one container on this machine,
what is left is the OCI form.
"""

from __future__ import annotations

import os
from typing import Any, TypedDict, cast

from rootless.errors import RootlessError
from rootless.linux.seccomp import (
    FLAG_LOG,
    FLAG_NEW_LISTENER,
    FLAG_SPEC_ALLOW,
    FLAG_WAIT_KILLABLE_RECV,
    is_supported,
)
from storage.errors import StorageError
from storage.jsonfast import loads


class Arg(TypedDict, total=False):
    """A condition on one argument: ``index`` 0..5; with MASKED_EQ ``value`` is the mask, ``valueTwo`` the datum."""

    index: int
    value: int
    valueTwo: int
    op: str


class Conditions(TypedDict, total=False):
    """When a rule counts; ``caps`` are names as ``CAP_CHOWN``, ``arches`` as ``amd64``, ``minKernel`` as ``4.8``."""

    caps: list[str]
    arches: list[str]
    minKernel: str


class Rule(TypedDict, total=False):
    """One entry of ``syscalls``."""

    names: list[str]
    name: str
    action: str
    errnoRet: int
    args: list[Arg]
    includes: Conditions
    excludes: Conditions


class Architecture(TypedDict, total=False):
    """One entry of ``archMap``."""

    architecture: str
    subArchitectures: list[str]


class Profile(TypedDict, total=False):
    """A whole profile."""

    defaultAction: str
    defaultErrnoRet: int
    archMap: list[Architecture]
    architectures: list[str]
    flags: list[str]
    listenerPath: str
    listenerMetadata: str
    syscalls: list[Rule]


class SpecSeccomp(TypedDict, total=False):
    """``linux.seccomp`` of a Spec."""

    defaultAction: str
    defaultErrnoRet: int
    architectures: list[str]
    flags: list[str]
    syscalls: list[Rule]


ACTIONS = (
    "SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_TRAP", "SCMP_ACT_ERRNO",
    "SCMP_ACT_TRACE", "SCMP_ACT_LOG", "SCMP_ACT_ALLOW", "SCMP_ACT_NOTIFY",
)  # fmt: skip
OPERATORS = (
    "SCMP_CMP_NE", "SCMP_CMP_LT", "SCMP_CMP_LE", "SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_MASKED_EQ",
)  # fmt: skip
FLAGS = {
    "SECCOMP_FILTER_FLAG_TSYNC": 0,
    "SECCOMP_FILTER_FLAG_LOG": FLAG_LOG,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": FLAG_SPEC_ALLOW,
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": FLAG_WAIT_KILLABLE_RECV,
}
"""For seccomp(2). TSYNC asks for the filter in every thread; the process that loads ours has one."""
NOTIFY = "SCMP_ACT_NOTIFY"

# The machine (uname -m) in the profiles' two vocabularies.
_NATIVE = {
    "x86_64": ("amd64", "SCMP_ARCH_X86_64"),
    "aarch64": ("arm64", "SCMP_ARCH_AARCH64"),
    "armv7l": ("arm", "SCMP_ARCH_ARM"),
    "i686": ("x86", "SCMP_ARCH_X86"),
    "ppc64le": ("ppc64le", "SCMP_ARCH_PPC64LE"),
    "riscv64": ("riscv64", "SCMP_ARCH_RISCV64"),
    "s390x": ("s390x", "SCMP_ARCH_S390X"),
    "loongarch64": ("loong64", "SCMP_ARCH_LOONGARCH64"),
    "mips64": ("mips64le", "SCMP_ARCH_MIPSEL64"),
}
_MAX_U64 = (1 << 64) - 1
_MAX_RULES = 10_000


def parse(source: bytes, where: str) -> Profile:
    """Read and check a profile. Raises ``RootlessError`` that names ``where`` and the place in the document."""
    try:
        document = loads(source)
    except (StorageError, ValueError) as error:
        raise RootlessError(f"cannot use the seccomp profile {where}: {error}") from error
    try:
        return check(document)
    except RootlessError as error:
        error.message = f"cannot use the seccomp profile {where}: {error.message}"
        error.args = (error.message,)
        raise


def check(document: Any) -> Profile:
    """``document``, if it has the form of a profile. What is not understood is refused, never passed over."""
    _need(isinstance(document, dict), "it is not a JSON object")
    if document.get("defaultAction") is not None:
        _action(document["defaultAction"], "defaultAction")
    _number(document.get("defaultErrnoRet"), 4095, "defaultErrnoRet")
    for key in ("listenerPath", "listenerMetadata"):
        _need(isinstance(document.get(key) or "", str), f"{key} is not a text")
    for flag in _strings(document.get("flags"), "flags"):
        _need(flag in FLAGS, f"the flag {flag!r} is not known")
    _strings(document.get("architectures"), "architectures")
    for entry in _list(document.get("archMap"), "archMap"):
        _need(isinstance(entry, dict), "archMap holds something else than objects")
        _need(isinstance(entry.get("architecture"), str), "an entry of archMap has no architecture")
        _strings(entry.get("subArchitectures"), "subArchitectures")
    rules = _list(document.get("syscalls"), "syscalls")
    _need(len(rules) <= _MAX_RULES, f"more than {_MAX_RULES} rules")
    for number, rule in enumerate(rules):
        _rule(rule, f"rule {number + 1}")
    asks = [rule for rule in rules if rule["action"] == NOTIFY]
    _need(document.get("defaultAction") != NOTIFY, f"{NOTIFY} cannot be the default: the start itself would wait")
    _need(not asks or bool(document.get("listenerPath")), f"{NOTIFY} needs a listenerPath")
    return cast("Profile", document)


def to_spec(profile: Profile, caps: set[str], machine: str = "", release: str = "") -> SpecSeccomp:
    """The rules that count for a container with the bounding set ``caps``, as ``linux.seccomp`` of a Spec.

    ``machine`` and ``release`` are this machine's unless given (``uname -m``, ``uname -r``).
    """
    uname = os.uname()
    arch, token = _NATIVE.get(machine or uname.machine, ("", ""))
    kernel = _version(release or uname.release)
    found: SpecSeccomp = {"defaultAction": profile.get("defaultAction", "SCMP_ACT_ERRNO")}
    if "defaultErrnoRet" in profile:
        found["defaultErrnoRet"] = profile["defaultErrnoRet"]
    architectures = list(profile.get("architectures") or ())
    for entry in profile.get("archMap") or ():
        if entry["architecture"] == token:
            architectures += [token, *(entry.get("subArchitectures") or ())]
    if architectures:
        found["architectures"] = list(dict.fromkeys(architectures))
    if profile.get("flags"):
        found["flags"] = profile["flags"]
    found["syscalls"] = [
        _resolved(rule) for rule in profile.get("syscalls") or () if _counts(rule, caps, arch, kernel)
    ]
    return found


def supported_flags() -> list[str]:
    """Those of `FLAGS` that this kernel takes."""
    return [name for name, flag in FLAGS.items() if is_supported(flag)]


def flag_bits(seccomp: SpecSeccomp) -> int:
    """The flags of seccomp(2) for a resolved profile; a rule that asks another program needs a listener."""
    bits = 0
    for flag in seccomp.get("flags") or ():
        bits |= FLAGS[flag]
    if any(rule["action"] == NOTIFY for rule in seccomp["syscalls"]):
        return bits | FLAG_NEW_LISTENER
    # Only with a listener does the kernel take this one.
    return bits & ~FLAG_WAIT_KILLABLE_RECV


def _resolved(rule: Rule) -> Rule:
    plain: Rule = {"names": rule.get("names") or [rule["name"]], "action": rule["action"]}
    if rule.get("errnoRet") is not None:
        plain["errnoRet"] = rule["errnoRet"]
    if rule.get("args"):
        plain["args"] = rule["args"]
    return plain


def _counts(rule: Rule, caps: set[str], arch: str, kernel: tuple[int, int]) -> bool:
    """Included: every capability is there, the architecture is listed, the kernel is new enough. Excluded: any."""
    wanted, unwanted = rule.get("includes") or {}, rule.get("excludes") or {}
    if not caps.issuperset(wanted.get("caps") or ()) or not caps.isdisjoint(unwanted.get("caps") or ()):
        return False
    if (wanted.get("arches") and arch not in wanted["arches"]) or arch in (unwanted.get("arches") or ()):
        return False
    if wanted.get("minKernel") and kernel < _version(wanted["minKernel"]):
        return False
    return not (unwanted.get("minKernel") and kernel >= _version(unwanted["minKernel"]))


def _version(text: str) -> tuple[int, int]:
    """(6, 1) for ``6.1.0-18-amd64``."""
    major, _, rest = text.partition(".")
    digits = len(rest) - len(rest.lstrip("0123456789"))
    _need(major.isdecimal() and digits > 0, f"{text[:40]!r} is no version of a kernel")
    return int(major), int(rest[:digits])


def _rule(rule: Any, where: str) -> None:
    _need(isinstance(rule, dict), f"{where} is not an object")
    names = _strings(rule.get("names"), f"{where}: names")
    if "name" in rule:
        _need(not names and isinstance(rule["name"], str), f"{where} has both name and names")
    else:
        _need(bool(names), f"{where} names no system call")
    _action(rule.get("action"), where)
    _number(rule.get("errnoRet"), 4095, f"{where}: errnoRet")
    for arg in _list(rule.get("args"), f"{where}: args"):
        _need(isinstance(arg, dict), f"{where}: an argument is not an object")
        _need("index" in arg and arg.get("op") in OPERATORS, f"{where}: an argument needs index and op")
        _number(arg["index"], 5, f"{where}: index")
        _number(arg.get("value"), _MAX_U64, f"{where}: value")
        _number(arg.get("valueTwo"), _MAX_U64, f"{where}: valueTwo")
    for part in ("includes", "excludes"):
        conditions = rule.get(part)
        if conditions is None:
            continue
        _need(isinstance(conditions, dict), f"{where}: {part} is not an object")
        for key in conditions:
            _need(key in ("caps", "arches", "minKernel"), f"{where}: the condition {key!r} is not known")
        _strings(conditions.get("caps"), f"{where}: caps")
        _strings(conditions.get("arches"), f"{where}: arches")
        kernel = conditions.get("minKernel") or "0.0"
        _need(isinstance(kernel, str), f"{where}: minKernel is not a text")
        _version(kernel)


def _action(value: Any, where: str) -> None:
    _need(value in ACTIONS, f"{where}: the action {value!r} is not known")


def _number(value: Any, largest: int, where: str) -> None:
    good = value is None or (type(value) is int and 0 <= value <= largest)
    _need(good, f"{where} must be a whole number up to {largest}")


def _list(value: Any, where: str) -> list[Any]:
    _need(value is None or isinstance(value, list), f"{where} is not a list")
    return value or []


def _strings(value: Any, where: str) -> list[str]:
    found = _list(value, where)
    _need(all(isinstance(entry, str) for entry in found), f"{where} holds something else than texts")
    return found


def _need(condition: bool, message: str) -> None:
    if not condition:
        raise RootlessError(message)
