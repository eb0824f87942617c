"""Landlock: a process gives up file system rights for good (landlock(7)). Often not switched on.

Used from its second version on (Linux 5.19): with the first, nothing could be linked or renamed from one directory to
another any more, whatever is allowed.
"""

from __future__ import annotations

import errno
from _ctypes import get_errno
from _struct import pack

from rootless.linux.libc import (
    PR_SET_NO_NEW_PRIVS,
    address_of,
    c_int,
    c_uint,
    c_ulong,
    c_void_p,
    fail,
    prctl,
    system_call,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_CREATE_RULESET_VERSION = 1
_RULE_PATH_BENEATH = 1

WRITE_FILE, REMOVE_DIR, REMOVE_FILE, MAKE_REG, TRUNCATE = 1 << 1, 1 << 4, 1 << 5, 1 << 8, 1 << 14
"""Rights that :func:`restrict_changes` may leave; those on a file alone are the first and the last."""

_EXECUTE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 2, 1 << 3
_FS_RIGHTS = {2: (1 << 14) - 1, 3: (1 << 15) - 1}
"""Every right on files by version of the interface: 2 adds REFER (links between directories), 3 TRUNCATE."""

_LEAST, _MOST = 2, 3

_create_ruleset = system_call(c_void_p, c_ulong, c_uint)
_add_rule = system_call(c_int, c_uint, c_void_p, c_uint)
_restrict_self = system_call(c_int, c_uint)


def version() -> int:
    """The version of the interface; 0 where the kernel has none."""
    found = _create_ruleset(_CREATE_RULESET, None, 0, _CREATE_RULESET_VERSION)
    if found > 0:
        return found
    if found < 0 and get_errno() not in (errno.ENOSYS, errno.EOPNOTSUPP):
        fail("landlock_create_ruleset")
    return 0


def is_usable() -> bool:
    """Whether the other functions have an effect."""
    return version() >= _LEAST


def restrict_to(directory: int) -> bool:
    """Leave this process no rights on files but below ``directory`` (a descriptor), and there none to execute.

    Files that are open already stay so. Sets no_new_privs. ``False``: the kernel has no Landlock, nothing is changed.
    """
    return _restrict(0, [(directory, ~_EXECUTE)])


def restrict_changes(rules: Iterable[tuple[int, int]]) -> bool:
    """Let this process change files only as the ``rules`` say; it reads and executes as before.

    A rule is a descriptor of a file or directory, and the rights on it and on all that is below. For the calling thread
    and those that it makes, and for whatever they execute. Otherwise as :func:`restrict_to`.
    """
    return _restrict(_EXECUTE | _READ_FILE | _READ_DIR, rules)


def restrict_writing(directories: Iterable[int]) -> bool:
    """The same with every right below some directories."""
    return restrict_changes((directory, ~0) for directory in directories)


def _restrict(unhandled: int, rules: Iterable[tuple[int, int]]) -> bool:
    """Take away every right but ``unhandled`` ones, and give back what the rules say."""
    handled = _FS_RIGHTS.get(min(version(), _MOST), 0) & ~unhandled
    if not handled:
        return False
    import os

    prctl(PR_SET_NO_NEW_PRIVS, 1)
    attributes = bytearray(pack("Q", handled))
    ruleset = _create_ruleset(_CREATE_RULESET, address_of(attributes), len(attributes), 0)
    if ruleset < 0:
        fail("landlock_create_ruleset")
    try:
        for descriptor, rights in rules:
            rule = bytearray(pack("=Qi", handled & rights, descriptor))
            if _add_rule(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, address_of(rule), 0):
                fail("landlock_add_rule")
        if _restrict_self(_RESTRICT_SELF, ruleset, 0):
            fail("landlock_restrict_self")
    finally:
        os.close(ruleset)
    return True
