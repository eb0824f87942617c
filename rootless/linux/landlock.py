"""Landlock: a process gives up file system rights for good (landlock(7)). Linux 5.13; often not switched on."""

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

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_CREATE_RULESET_VERSION = 1
_RULE_PATH_BENEATH = 1

FS_EXECUTE = 1 << 0
_FS_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1}
"""Every right on files by version of the interface: 2 adds REFER (links between directories), 3 TRUNCATE."""

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


def restrict_to(directory: int) -> bool:
    """Leave this process no rights on files but below ``directory`` (a descriptor), and there none to execute.

    Files that are open already stay so. Sets no_new_privs. ``False``: the kernel has no Landlock, nothing is changed.
    """
    rights = _FS_RIGHTS.get(min(version(), 3), 0)
    if not rights:
        return False
    import os

    prctl(PR_SET_NO_NEW_PRIVS, 1)
    attributes = bytearray(pack("Q", rights))
    ruleset = _create_ruleset(_CREATE_RULESET, address_of(attributes), len(attributes), 0)
    if ruleset < 0:
        fail("landlock_create_ruleset")
    try:
        rule = bytearray(pack("=Qi", rights & ~FS_EXECUTE, directory))
        if _add_rule(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, address_of(rule), 0):
            fail("landlock_add_rule")
        if _restrict_self(_RESTRICT_SELF, ruleset, 0):
            fail("landlock_restrict_self")
    finally:
        os.close(ruleset)
    return True
