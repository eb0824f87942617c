"""What the keeper makes of setuid(2) and its like is what the kernel makes of them, where it has the ids."""

from __future__ import annotations

import ctypes
import json
import os
import random

import pytest

from rootless import idmaps, userns
from rootless.init.keeper_filter import GET_IDS, SET_IDS
from rootless.init.keeper_ids import Ids, asked, change

pytestmark = pytest.mark.needs("userns", "subuid", "newuidmap")

Step = tuple[str, tuple[int, ...]]

CHOICES = (0, 0, 1, 2, 3, 0xFFFFFFFF)
LENGTHS = {"setuid": 1, "setgid": 1, "setreuid": 2, "setregid": 2, "setresuid": 3, "setresgid": 3}


def steps(dice: random.Random) -> list[Step]:
    """Some calls in a row."""
    names = [dice.choice(sorted(LENGTHS)) for _ in range(6)]
    return [(name, tuple(dice.choice(CHOICES) for _ in range(LENGTHS[name]))) for name in names]


def by_kernel(rows: list[list[Step]]) -> bytes:
    """For each row, run by a child, the results: error, the six ids, and what the plain calls tell."""
    libc = ctypes.CDLL(None, use_errno=True)
    results = []
    for row in rows:
        reader, writer = os.pipe()
        if os.fork() == 0:
            seen = []
            for name, arguments in row:
                failed = getattr(libc, name)(*(ctypes.c_uint32(number) for number in arguments))
                plain = [getattr(os, name)() for name in GET_IDS if not name.startswith("getres")]
                seen.append([ctypes.get_errno() if failed else 0, *os.getresuid(), *os.getresgid(), *plain])
            os.write(writer, json.dumps(seen).encode())
            os._exit(0)
        os.close(writer)
        results.append(json.loads(os.read(reader, 1 << 16)))
        os.close(reader)
        os.wait()
    return json.dumps(results).encode()


def by_keeper(row: list[Step]) -> list[list[int]]:
    """The same by the table of the keeper."""
    ids, seen = Ids([0, 0, 0], [0, 0, 0]), []
    for name, arguments in row:
        error = change(ids, name, arguments, ids.is_root())
        plain = [asked(ids, name) for name in GET_IDS if not name.startswith("getres")]
        seen.append([error, *ids.uids, *ids.gids, *plain])
    return seen


def test_it_agrees_with_the_kernel() -> None:
    assert set(SET_IDS) == {*LENGTHS, "setgroups"}
    dice = random.Random(4)
    rows = [steps(dice) for _ in range(400)]
    expected = json.loads(userns.run_in_userns(lambda: by_kernel(rows), idmaps.default_map()))
    for row, seen in zip(rows, expected, strict=True):
        assert by_keeper(row) == seen, row
