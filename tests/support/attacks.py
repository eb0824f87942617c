"""Hostile images as data: the layers of each, and what must be true of the tree afterwards.

``CANARY`` in a name or target stands for the absolute path of a tree outside the root. ``expected`` None: the image
must be refused; else these paths (as ``layers.listing`` describes them) must be in the merged tree, and those of
``absent`` must not. Whatever is expected, the canary stays as it is.
"""

from __future__ import annotations

from typing import NamedTuple

from tests.support.layers import Item, device, directory, fifo, file, hardlink, symlink

CANARY = "CANARY"


class Attack(NamedTuple):
    """One hostile image."""

    name: str
    layers: list[list[Item]]
    expected: dict[str, str] | None
    absent: tuple[str, ...] = ()


def _one(name: str, items: list[Item], expected: dict[str, str] | None, *absent: str) -> Attack:
    return Attack(name, [items], expected, absent)


ROOT = f"/{CANARY}"

# Row 1: entries that follow a link out of the root.
LINKS = [
    _one("file through an absolute symlink", [symlink("l", ROOT), file("l/x", "in")], {"l": f"-> {ROOT}"}),
    _one("hard link to an outside file", [hardlink("h", f"{ROOT}/file")], None),
    _one("hard link through a symlink", [symlink("l", f"{ROOT}/file"), hardlink("h", "l")], {"h": f"-> {ROOT}/file"}),
    _one(
        "file over a hard link to a symlink",
        [symlink("l", f"{ROOT}/file"), hardlink("h", "l"), file("h", "in")],
        {"h": "= in", "l": f"-> {ROOT}/file"},
    ),
]

# Row 2: climbing out, overriding what was resolved, and everything on the way.
BREAKOUTS = [
    _one("absolute name", [file("/etc/x", "in")], {"etc/x": "= in"}),
    _one("absolute symlink target", [symlink("l", "/etc"), file("l/x", "in")], {"etc/x": "= in"}),
    _one("symlink up and out", [symlink("l", "../../../../.."), file("l/x", "in")], {"x": "= in"}),
    _one("symlink up and out again", [directory("d"), symlink("d/l", "../../.."), file("d/l/x", "in")], {"x": "= in"}),
    _one("symlink up beside the root", [symlink("l", "../tree-evil"), file("l/x", "in")], {"tree-evil/x": "= in"}),
    _one("chain of absolute symlinks", [symlink("a", "/b"), symlink("b", "/c"), file("a/x", "in")], {"c/x": "= in"}),
    _one("chain of relative symlinks", [symlink("a", "./b"), symlink("b", "../c"), file("a/x", "in")], {"c/x": "= in"}),
    _one("loop of symlinks", [symlink("a", "b"), symlink("b", "a"), file("a/x", "in")], None),
    _one("symlink to itself", [symlink("a", "a"), file("a/x", "in")], None),
    _one("symlink to the root", [symlink("l", "/"), file("l/x", "in")], {"x": "= in"}),
    _one("symlink with dots", [symlink("l", "d/./../d//e"), file("l/x", "in")], {"d/e/x": "= in"}),
    _one("dangling symlink as parent", [symlink("l", "new/dir"), file("l/x", "in")], {"new/dir/x": "= in"}),
    _one("nested symlinks up", [symlink("a", ".."), symlink("b", "a/a/a"), file("b/x", "in")], {"x": "= in"}),
    _one("dotdot in a name", [file("a/../../x", "in")], None),
    _one("dotdot in front", [file("../victim", "in")], None),
    _one("dotdot behind a slash", [file("/../victim", "in")], None),
    _one("dotdot alone", [directory("..")], None),
    _one("dotdot of a directory", [directory("../dir"), file("../dir/x")], None),
    _one("hard link with dotdot", [hardlink("h", f"../../..{ROOT}/file")], None),
    _one("hard link down and out", [directory("d"), hardlink("h", "d/../../file")], None),
    _one("hard link with a leading slash", [file("f", "in"), hardlink("h", "/f")], {"h": "= in"}),
    _one(
        "hard link through a linked directory",
        [directory("d"), file("d/f", "in"), symlink("l", "/d"), hardlink("h", "l/f")],
        {"h": "= in"},
    ),
    _one(
        "hard link below an outside directory",
        [symlink("l", f"{ROOT}/dir"), hardlink("h", "l/file")],
        None,
    ),
    _one("hard link to a directory", [directory("d"), hardlink("h", "d")], None),
    _one("hard link to itself", [file("f", "in"), hardlink("f", "f")], {"f": "= in"}),
    _one("hard link to itself, missing", [hardlink("f", "f")], None),
    _one("hard link that removes its target", [file("d/f", "in"), hardlink("d", "d/f")], None),
    _one("file over a symlink", [symlink("l", f"{ROOT}/file"), file("l", "in")], {"l": "= in"}),
    _one("directory over a symlink", [symlink("l", f"{ROOT}/dir"), directory("l"), file("l/x", "in")], {"l/x": "= in"}),
    _one(
        "symlink over a directory, then through it",
        [directory("d"), file("d/f", "1"), symlink("d", f"{ROOT}/dir"), file("d/file", "in")],
        {"d": f"-> {ROOT}/dir"},
    ),
    _one(
        "symlink over a symlink that was resolved",
        [directory("e"), symlink("l", "e"), file("l/x", "1"), symlink("l", f"{ROOT}/dir"), file("l/y", "2")],
        {"e/x": "= 1", "l": f"-> {ROOT}/dir"}, "e/y",
    ),
    _one(
        "directory swapped for a symlink one level up",
        [file("a/b/c/x", "1"), symlink("a", ROOT), file("a/b/c/y", "2")],
        {"a": f"-> {ROOT}"},
    ),
    _one("file as a directory", [file("f", "in"), file("f/x", "in")], None),
    _one("pipe as a directory", [fifo("p"), file("p/x", "in")], None),
    _one("symlink replaced through itself", [symlink("l", "."), file("l/l", "in")], {"l": "= in"}),
    _one("directory replaced through itself", [symlink("d/l", "../d"), file("d/l/l/x", "in")], {"d/x": "= in"}),
    _one("file over a directory", [file("d/e/f", "1"), file("d", "in")], {"d": "= in"}, "d/e"),
]

# Row 4 and 8: the root itself, and names that are none.
ROOTS = [
    _one("symlink as the root", [symlink("./", ROOT), file("x")], None),
    _one("symlink as the root, dot", [symlink(".", ROOT)], None),
    _one("hard link as the root", [file("f"), hardlink(".", "f")], None),
    _one("pipe as the root", [fifo("/")], None),
    _one("file as the root", [file(".", "in")], None),
    _one("nameless file", [file("", "in")], None),
    _one("symlink to nothing", [symlink("l", ""), file("l/x", "in")], None),
    _one("hard link to nothing", [hardlink("h", "")], None),
    _one("hard link to a missing member", [hardlink("h", "missing")], None),
    _one("root as a directory", [directory("./", 0o711), file("./x", "in")], {"x": "= in"}),
]

# Row 5: modes changed through links.
MODES = [
    _one(
        "mode of a hard link to a symlink",
        [symlink("l", f"{ROOT}/closed"), hardlink("h", "l", 0o777)],
        {"l": f"-> {ROOT}/closed"},
    ),
    _one("mode of a symlink", [Item(b"2", "l", f"{ROOT}/closed", 0o7777)], {"l": f"-> {ROOT}/closed"}),
    _one(
        "directory entry over a symlink to a directory",
        [symlink("l", f"{ROOT}/dir"), directory("l", 0o700)],
        {"l": "dir"},
    ),
]

# Row 6: a link in one layer, its use in the next.
ACROSS = [
    Attack("file below a lower symlink", [[symlink("etc", ROOT)], [file("etc/new", "in")]], {"etc/new": "= in"}),
    Attack("whiteout below a lower symlink", [[symlink("etc", ROOT)], [file("etc/.wh.file")]], {"etc": "dir"}),
    Attack("hard link below a lower symlink", [[symlink("etc", ROOT)], [hardlink("x", "etc/file")]], None),
    Attack("hard link to a lower file", [[file("f", "in")], [hardlink("h", "f")]], None),
    Attack(
        "opaque below a lower symlink", [[symlink("etc", f"{ROOT}/dir")], [file("etc/.wh..wh..opq")]], {"etc": "dir"}
    ),
]

# Row 13: whiteouts.
LOWER = [file("keep", "low"), file("gone", "low"), file("d/gone", "low"), file("d/keep", "low"), symlink("s", "d")]
WHITEOUTS = [
    Attack("whiteout", [LOWER, [file(".wh.gone")]], {"keep": "= low"}, ("gone",)),
    Attack("whiteout that is a symlink", [LOWER, [symlink(".wh.gone", ROOT)]], {"keep": "= low"}, ("gone",)),
    Attack("whiteout that is a directory", [LOWER, [directory(".wh.gone")]], {"keep": "= low"}, ("gone",)),
    Attack("whiteout of nothing", [LOWER, [file(".wh.")]], None),
    Attack("whiteout of the directory", [LOWER, [file("d/.wh..")]], None),
    Attack("whiteout of the parent", [LOWER, [file("d/.wh...")]], None),
    Attack("whiteout of three dots", [LOWER, [file(".wh....", "")]], {"keep": "= low", "gone": "= low"}),
    Attack("whiteout with a slash", [LOWER, [file(".wh./gone")]], None),
    Attack("whiteout as a directory", [LOWER, [file(".wh.d/x", "in")]], None),
    Attack(
        "AUFS files",
        [LOWER, [file(".wh..wh.aufs"), file(".wh..wh.plnk/1.2")]],
        {"keep": "= low"}, (".wh..wh.aufs",),
    ),
    Attack("opaque root", [LOWER, [file("new", "up"), file(".wh..wh..opq")]], {"new": "= up"}, ("keep", "gone", "d")),
    Attack(
        "opaque directory",
        [LOWER, [directory("d"), file("d/.wh..wh..opq"), file("d/new", "up")]],
        {"d/new": "= up", "keep": "= low"}, ("d/keep", "d/gone"),
    ),
    Attack(
        "opaque after the layer's own files",
        [LOWER, [file("d/new", "up"), file("d/.wh..wh..opq")]],
        {"d/new": "= up"}, ("d/keep",),
    ),
    Attack(
        "whiteout through a symlink of the layer",
        [LOWER, [symlink("s", "d"), file("s/.wh.gone")]],
        {"d/keep": "= low"}, ("d/gone",),
    ),
    Attack("whiteout below an outside symlink", [LOWER, [symlink("o", ROOT), file("o/.wh.file")]], {"keep": "= low"}),
    Attack("whiteout before its own file", [LOWER, [file(".wh.gone"), file("gone", "up")]], {"gone": "= up"}),
    Attack("whiteout after its own file", [LOWER, [file("gone", "up"), file(".wh.gone")]], {"gone": "= up"}),
    Attack(
        "whiteout after its own directory",
        [LOWER, [file("d/new", "up"), file(".wh.d")]],
        {"d/new": "= up"}, ("d/keep", "d/gone"),
    ),
    Attack(
        "whiteout before its own directory",
        [LOWER, [file(".wh.d"), directory("d"), file("d/new", "up")]],
        {"d/new": "= up"}, ("d/keep",),
    ),
    Attack(
        "whiteout before an implied directory",
        [LOWER, [file(".wh.d"), file("d/new", "up")]],
        {"d/new": "= up"}, ("d/keep",),
    ),
    Attack(
        "file and directory in one place",
        [LOWER, [file("d", "x"), directory("d"), file("d/new", "up")]],
        {"d/new": "= up"}, ("d/keep",),
    ),
    Attack(
        "whiteout below a whiteout",
        [LOWER, [file(".wh.d"), file("d/.wh.keep")]],
        {"d": "dir"}, ("d/keep", "d/gone"),
    ),
    Attack("hard link to a whiteout", [LOWER, [file(".wh.gone"), hardlink("h", "gone")]], None),
    Attack("directory over a lower file", [LOWER, [directory("keep"), file("keep/x", "up")]], {"keep/x": "= up"}),
    Attack("file over a lower directory", [LOWER, [file("d", "up")]], {"d": "= up"}, ("d/keep",)),
    Attack("symlink over a lower directory", [LOWER, [symlink("d", "/keep")]], {"d": "-> /keep"}),
]

# Row 16: what is not a file.
SPECIAL = [
    _one("null device", [device("dev/null", "c", 1, 3)], {"dev/null": "= "}),
    _one("disk", [device("disk", "b", 8, 0)], {"disk": "= "}),
    _one("device that looks like a whiteout", [device("x", "c", 0, 0)], {"x": "= "}),
    _one("pipe as passwd", [fifo("etc/passwd")], {"etc/passwd": "fifo"}),
    _one("file over a pipe", [fifo("p"), file("p", "in")], {"p": "= in"}),
    _one("device over an outside symlink", [symlink("l", f"{ROOT}/file"), device("l", "c", 1, 3)], {"l": "= "}),
    _one("pipe over an outside symlink", [symlink("l", f"{ROOT}/file"), fifo("l")], {"l": "fifo"}),
]

# Row 19: names.
NAMES = [
    _one("newline", [file("a\nb", "in")], {"a\nb": "= in"}),
    _one("escape", [file("a\x1b[2Jb", "in")], {"a\x1b[2Jb": "= in"}),
    _one("not UTF-8", [file("a\udcff\udcfe", "in")], {"a\udcff\udcfe": "= in"}),
    _one("backslashes", [file("..\\..\\x", "in")], {"..\\..\\x": "= in"}),
    _one("longest name", [file("n" * 255, "in")], {"n" * 255: "= in"}),
    _one("name too long", [file("n" * 256, "in")], None),
    _one("path too long", [file("/".join(["n" * 200] * 21), "in")], None),
    _one("only dots", [file("...", "in")], {"...": "= in"}),
    _one("spaces", [file(" ", "in")], {" ": "= in"}),
    _one("many slashes", [file("a////b", "in")], {"a/b": "= in"}),
    _one("ladder of long directories", [
        directory("/".join(["d" * 255] * 15)),
        symlink("l", "/".join(["d" * 255] * 15)),
        file("l/" + "/".join(["e" * 255] * 3), "in"),
    ], None),
    _one("too deep", [file("/".join(["d"] * 300), "in")], None),
]

ALL = [*LINKS, *BREAKOUTS, *ROOTS, *MODES, *ACROSS, *WHITEOUTS, *SPECIAL, *NAMES]


def aimed(attack: Attack, canary: str) -> Attack:
    """The attack with the canary's real path in place of ``CANARY``."""

    def put(text: str) -> str:
        return text.replace(CANARY, canary.lstrip("/"))

    return Attack(
        attack.name,
        [[item._replace(name=put(item.name), text=put(item.text)) for item in layer] for layer in attack.layers],
        None if attack.expected is None else {path: put(what) for path, what in attack.expected.items()},
        attack.absent,
    )
