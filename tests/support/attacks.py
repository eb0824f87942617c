"""Hostile images as data: the layers of each, and what must be true of the tree afterwards.

They are written down in ``tests/attacks/layouts``, whose first file says how. ``CANARY`` in a name or target stands for
the absolute path of a tree outside the root, without its first slash. ``expected`` None: the image must be refused;
else these paths (as ``layers.listing`` describes them) must be in the merged tree, and those of ``absent`` must not.
Whatever is expected, the canary stays as it is.
"""

from __future__ import annotations

import ast
import os
import re
from pathlib import Path
from typing import NamedTuple

from tests.support.layers import Item, device, directory, fifo, file, hardlink, symlink

CANARY = "CANARY"
LAYOUTS = Path(__file__).parents[1] / "attacks" / "layouts"

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|\S+')
_REPEATED = re.compile(r"\{([^{}*]+)\*(\d+)\}")
_ROW = re.compile(r"# row (\d+): ")


class Attack(NamedTuple):
    """One hostile image. ``row``: that of the list of attacks to which it belongs."""

    name: str
    row: int
    layers: list[list[Item]]
    expected: dict[str, str] | None
    absent: tuple[str, ...] = ()

    def __str__(self) -> str:
        """For the name of a test, which tells the row by its end."""
        return f"{self.name}_row_{self.row}"


def _words(line: str) -> list[str]:
    """The words of a line: quotes removed, repetitions written out, the canary named."""
    words = []
    for token in _TOKEN.findall(line):
        word = token
        while found := _REPEATED.search(word):
            word = word[: found.start()] + found[1] * int(found[2]) + word[found.end() :]
        if word.startswith('"'):
            word = ast.literal_eval(word)
        words.append(word.replace("@", f"/{CANARY}"))
    return words


def _item(words: list[str]) -> Item:
    """``link l -> /etc``, ``file f = text mode 4755``, ``char null 1:3``, ``dir d``."""
    kind, name, *rest = words
    mode = int(rest[-1], 8) if rest[-2:-1] == ["mode"] else None
    text = rest[1] if rest and rest[0] in ("->", "=") else ""
    if kind in ("char", "block"):
        made = device(name, kind[0], *map(int, rest[0].split(":")))
    elif kind in ("dir", "fifo"):
        made = directory(name) if kind == "dir" else fifo(name)
    elif kind == "file":
        made = file(name, text)
    else:
        made = {"link": symlink, "hard": hardlink}[kind](name, text)
    return made if mode is None else made._replace(mode=mode)


def _outcome(words: list[str]) -> tuple[str, str]:
    """``has PATH = text``: the path in the tree, and what is there."""
    path = os.path.normpath(words[1]).lstrip("/")
    return path, " ".join(words[2:])


def read(path: Path) -> list[Attack]:
    """The layouts of one file. Raises ValueError for a line that says nothing."""
    found: list[Attack] = []
    row = 0
    for line in path.read_text().splitlines():
        words = _words(line)
        if match := _ROW.match(line):
            row = int(match[1])
        elif not words or words[0] == "%":
            continue
        elif not line.startswith(" "):
            found.append(Attack(line, row, [[]], {}))
        elif words == ["---"]:
            found[-1].layers.append([])
        elif words == ["refused"]:
            found[-1] = found[-1]._replace(expected=None)
        elif words[0] == "lacks":
            found[-1] = found[-1]._replace(absent=(*found[-1].absent, words[1]))
        elif words[0] == "has":
            path_, what = _outcome(words)
            expected = found[-1].expected
            if expected is None:
                raise ValueError(f"{found[-1].name}: what is refused has nothing")
            expected[path_] = what
        else:
            found[-1].layers[-1].append(_item(words))
    return found


ALL = [attack for path in sorted(LAYOUTS.glob("*.txt")) for attack in read(path)]


def aimed(attack: Attack, canary: str) -> Attack:
    """The attack with the canary's real path in place of ``CANARY``."""

    def put(text: str) -> str:
        return text.replace(CANARY, canary.lstrip("/"))

    return attack._replace(
        layers=[[item._replace(name=put(item.name), text=put(item.text)) for item in layer] for layer in attack.layers],
        expected=None if attack.expected is None else {put(path): put(what) for path, what in attack.expected.items()},
    )
