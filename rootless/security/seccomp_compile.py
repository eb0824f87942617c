"""Rules to BPF, by libseccomp.

libseccomp drops a rule with conditions when another, without conditions, names the same system call: "allow ioctl" and
"deny ioctl with TIOCSTI" end as "allow ioctl". So rules that deny something which another rule allows go into a filter
of their own, the guard, that is asked first; where it has no objection it jumps to the filter of all other rules. The
stricter answer wins, as it would if both were loaded one after the other (seccomp(2)).

32-bit x86 and IBM Z have ``socketcall`` and ``ipc``, one number for many calls whose arguments are in memory.
libseccomp applies a rule for ``socket`` to them too, with conditions on registers that hold something else. So a
profile that allows them as a whole has them allowed in the guard too.
"""

from __future__ import annotations

import os
from _struct import pack
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from rootless.errors import RootlessError

if TYPE_CHECKING:
    from rootless.security.seccomp_profile import Arg, Rule, SpecSeccomp

_HINT = "install libseccomp (Debian's package libseccomp2); --security-opt seccomp=unconfined runs without a filter"
_PERMISSIVE = ("SCMP_ACT_ALLOW", "SCMP_ACT_LOG")
_EPERM, _ENOSYS = 1, 38
_MAX_INSTRUCTIONS = 4096  # BPF_MAXINSNS, linux/bpf_common.h
_MULTIPLEXERS = {"ipc", "socketcall"}
_GOES_ON = 0xFFFF
"""The guard's "no objection" while libseccomp makes it: its default, so that a rule may say ALLOW."""
_PASSED = (pack("HBBI", 0x06, 0, 0, 0x7FFF0000), pack("HBBI", 0x06, 0, 0, 0x7FF00000 | _GOES_ON))
"""Both as instructions: BPF_RET | BPF_K with SECCOMP_RET_ALLOW and with SECCOMP_RET_TRACE."""
_JUMP = 0x05  # BPF_JMP | BPF_JA
_OPTIMIZE_BINARY_TREE = 2
_UNKNOWN = -1  # __NR_SCMP_ERROR


def compile_rules(seccomp: SpecSeccomp) -> bytes:
    """The BPF program of ``linux.seccomp``. Raises ``RootlessError`` for what libseccomp or the kernel cannot do."""
    library = _library()
    allowed = {name for rule in seccomp["syscalls"] if rule["action"] in _PERMISSIVE for name in rule["names"]}
    guard: list[Rule] = []
    rest: list[Rule] = []
    for rule in seccomp["syscalls"]:
        denied = [name for name in rule["names"] if name in allowed] if rule["action"] not in _PERMISSIVE else []
        if denied:
            guard.append({**rule, "names": denied})
        remaining = [name for name in rule["names"] if name not in denied]
        if remaining:
            rest.append({**rule, "names": remaining})
    calls = {name for rule in guard for name in rule["names"]}
    whole = {name for rule in rest if not rule.get("args") for name in rule["names"]} & _MULTIPLEXERS - calls
    if whole:
        guard.append({"names": sorted(whole), "action": "SCMP_ACT_ALLOW"})
    default = _action(library, seccomp["defaultAction"], seccomp.get("defaultErrnoRet", _EPERM))
    architectures = seccomp.get("architectures") or []
    try:
        code = _filter(library, default, architectures, rest, library.ERRNO(_ENOSYS))
        if calls:
            goes_on = library.TRACE(_GOES_ON)
            code = _joined(_filter(library, goes_on, architectures, guard, goes_on), code)
    except OSError as error:
        raise RootlessError(f"cannot compile the seccomp profile: {error.strerror or error}") from error
    if len(code) // 8 > _MAX_INSTRUCTIONS:
        raise RootlessError(f"cannot compile the seccomp profile: more than {_MAX_INSTRUCTIONS} instructions")
    return code


def architectures() -> list[str]:
    """The architectures that a profile may name, those of this machine's libseccomp."""
    return sorted(f"SCMP_ARCH_{name}" for name in vars(_library().Arch) if name.isupper() and name != "NATIVE")


def _library() -> Any:
    try:
        import pyseccomp
    except (ImportError, RuntimeError, OSError) as error:
        raise RootlessError("cannot make the seccomp filter: libseccomp is not there", _HINT) from error
    return pyseccomp


def _joined(first: bytes, second: bytes) -> bytes:
    """``first``, going on in ``second`` where it has no objection."""
    count = len(first) // 8
    parts = []
    for number in range(count):
        instruction = first[number * 8 : number * 8 + 8]
        if instruction in _PASSED:
            instruction = pack("HBBI", _JUMP, 0, 0, count - number - 1)
        parts.append(instruction)
    return b"".join(parts) + second


def _filter(library: Any, default: int, architectures: Iterable[str], rules: Iterable[Rule], foreign: int) -> bytes:
    """One libseccomp filter as BPF; ``foreign`` is the action for architectures that are not listed."""
    made = library.SyscallFilter(default)
    made.set_attr(library.Attr.ACT_BADARCH, foreign)
    try:
        made.set_attr(library.Attr.CTL_OPTIMIZE, _OPTIMIZE_BINARY_TREE)
    except OSError:
        pass  # before libseccomp 2.5: a longer program that means the same
    for token in architectures:
        number = getattr(library.Arch, token.removeprefix("SCMP_ARCH_"), None)
        if number is None:
            raise RootlessError(f"cannot compile the seccomp profile: the architecture {token[:40]!r} is not known")
        if not made.exist_arch(number):
            made.add_arch(number)
    # Without conditions first: a condition added later is then no conflict, whatever a multiplexer made of it.
    for rule in sorted(rules, key=lambda rule: bool(rule.get("args"))):
        action = _action(library, rule["action"], rule.get("errnoRet", _EPERM))
        if action == default:
            continue
        for arguments in _alternatives(rule.get("args") or []):
            compared = [_argument(library, argument) for argument in arguments]
            for name in rule["names"]:
                _add(library, made, action, name, compared, default)
    return _exported(made)


def _add(library: Any, made: Any, action: int, name: str, compared: list[Any], default: int) -> None:
    """Add one rule. A name that libseccomp does not know may be left out only where the default is to refuse."""
    number = library.resolve_syscall(library.Arch.NATIVE, name)
    if number != _UNKNOWN:
        made.add_rule(action, number, *compared)
    elif action not in (library.ALLOW, library.LOG) and default in (library.ALLOW, library.LOG):
        message = f"cannot compile the seccomp profile: the system call {name[:40]!r} to be denied is not known"
        raise RootlessError(message, "correct the name, or install a newer libseccomp")


def _alternatives(arguments: list[Arg]) -> list[list[Arg]]:
    """All conditions of a rule hold together; those of a rule that names an argument twice hold one by one (runc)."""
    if len({argument["index"] for argument in arguments}) < len(arguments):
        return [[argument] for argument in arguments]
    return [arguments]


def _argument(library: Any, argument: Arg) -> Any:
    operator = getattr(library, argument["op"].removeprefix("SCMP_CMP_"))
    return library.Arg(argument["index"], operator, argument.get("value", 0), argument.get("valueTwo", 0))


def _action(library: Any, name: str, errno_: int) -> int:
    word = name.removeprefix("SCMP_ACT_")
    if word in ("ERRNO", "TRACE"):
        return int(getattr(library, word)(errno_))
    if word in ("KILL", "KILL_THREAD"):
        return 0  # SECCOMP_RET_KILL_THREAD
    return int(getattr(library, word))


def _exported(made: Any) -> bytes:
    fd = os.memfd_create("seccomp", os.MFD_CLOEXEC)
    with open(fd, "w+b") as file:
        made.export_bpf(file)
        file.seek(0)
        return file.read()
