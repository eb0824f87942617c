"""Archives that two programs may read differently: the same tree as GNU tar makes of them, or refused (row 18)."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import layers
from tests.support.cli import Cli, new_cli
from tests.support.figures import Tell
from tests.support.tarbytes import END, GNU, V7, block, gnu_long, padded, pax, summed

pytestmark = [pytest.mark.needs("userns", "subuid", "newuidmap", "libseccomp"), pytest.mark.timeout(300)]
HELLO = padded(b"hello")
INNER = block(b"inner", size=5) + HELLO
"""A member that is the content of another one for who reads its size right."""
DATA = b"a" * 512 + padded(b"bcd")
MAP = (b"GNU.sparse.size", b"2051"), (b"GNU.sparse.numblocks", b"2"), (b"GNU.sparse.map", b"0,512,2048,3")
OWN_MAP = (b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.realsize", b"2051")
OLD_MAP = bytes(41) + b"00000000000\x0000000001000\0" + b"00000004000\x0000000000003\0" + bytes(49) + b"00000004003\0"


def signed(header: bytes) -> bytes:
    """The header with a checksum of signed bytes, as old Sun programs wrote it."""
    rest = header[:148] + header[156:]
    return summed(header, sum(rest) + 8 * 32 - 256 * sum(byte > 127 for byte in rest))


SAME = {
    "a prefix": block(b"n", size=5, prefix=b"p/q") + HELLO,
    "times where the prefix is, in GNU's header": block(b"n", magic=GNU, tail=b"13000000000\0" * 2),
    "a prefix in the header of v7": block(b"n", magic=V7, prefix=b"p"),
    "a long name and a prefix": gnu_long(b"long") + block(b"n", prefix=b"p"),
    "an extended name and a prefix": pax((b"path", b"other")) + block(b"n", prefix=b"p"),
    "an extended name twice": pax((b"path", b"one"), (b"path", b"two")) + block(b"n"),
    "an extended name for one member": pax((b"path", b"other")) + block(b"n") + block(b"m"),
    "an extended size for none": pax((b"size", b"5")) + block(b"n") + HELLO + block(b"m"),
    "an extended size that hides a member": pax((b"size", b"1024")) + block(b"n", size=0) + INNER + block(b"m"),
    "an extended size that shows a member": pax((b"size", b"0")) + block(b"n", size=1024) + INNER + block(b"m"),
    "an extended target": pax((b"linkpath", b"m")) + block(b"l", b"2", link=b"n"),
    "a long target": gnu_long(b"t" * 150, b"K") + block(b"l", b"2", link=b"t" * 100),
    "a long name and a long target": gnu_long(b"n" * 150) + gnu_long(b"t" * 150, b"K") + block(b"l", b"2", link=b"t"),
    "a name of a hundred bytes": block(b"n" * 100),
    "a name with a slash in front": block(b"/n", size=5) + HELLO,
    "a name with dots and slashes": block(b"./d//./n", size=5) + HELLO,
    "a name twice": block(b"n", size=5) + HELLO + block(b"n", size=2) + padded(b"no"),
    "a link, then a file of its name": block(b"l", b"2", link=b"n") + block(b"l", size=5) + HELLO,
    "an old directory": block(b"d/", b"\0", magic=V7) + block(b"d/n", b"\0", magic=V7),
    "a directory with a slash": block(b"d/", b"5") + block(b"d/n"),
    "a contiguous file": block(b"n", b"7", 5) + HELLO,
    "a label": block(b"label", b"V") + block(b"n"),
    "a hard link with a size": block(b"n", size=5) + HELLO + block(b"h", b"1", 5000, link=b"n") + block(b"m"),
    "no end": block(b"n", size=5) + HELLO,
    "one block of zeros at the end": block(b"n", size=5) + HELLO + bytes(512),
    "an archive behind the end": block(b"n") + END + block(b"behind") + END,
    "rubbish behind the end": block(b"n") + END + b"rubbish" * 1000,
    "a binary size": block(b"n", size=b"\x80" + bytes(10) + b"\x05") + HELLO + block(b"m"),
    "a size with blanks": block(b"n", size=b"         5 \0") + HELLO + block(b"m"),
    "a size without an end": block(b"n", size=b"000000000005") + HELLO + block(b"m"),
    "a checksum of signed bytes": signed(block("n\xe4".encode())),
    "a time before 1970": block(b"n", mtime=b"\xff" * 11 + b"\x00"),
    "a global comment": pax((b"comment", b"hello"), kind=b"g") + block(b"n"),
    "a character set": pax((b"hdrcharset", b"BINARY"), (b"path", b"\xff\xfe")) + block(b"n"),
    "an unknown keyword": pax((b"ACME.size", b"5"), (b"ACME.path", b"x")) + block(b"n"),
    "a sparse file, old": block(b"n", b"S", 515, magic=GNU, tail=OLD_MAP) + DATA + block(b"m"),
    "a sparse file, 0.1": pax(*MAP) + block(b"n", size=515) + DATA + block(b"m"),
    "a sparse file, 1.0": pax(*OWN_MAP) + block(b"n", size=1027) + padded(b"2\n0\n512\n2048\n3\n") + DATA + block(b"m"),
    "a sparse file's own name": pax((b"GNU.sparse.name", b"other"), *MAP) + block(b"n", size=515) + DATA,
}
REFUSED = {
    "an extended name and a long name": pax((b"path", b"one")) + gnu_long(b"two") + block(b"n"),
    "two long names": gnu_long(b"one") + gnu_long(b"two") + block(b"n"),
    "two extended headers": pax((b"path", b"one")) + pax((b"path", b"two")) + block(b"n"),
    "a global name": pax((b"path", b"other"), kind=b"g") + block(b"n"),
    "a global size": pax((b"size", b"1024"), kind=b"g") + block(b"n") + INNER,
    "a directory with a size": block(b"d", b"5", 1024) + INNER + block(b"m"),
    "a symlink with a size": block(b"l", b"2", 1024, link=b"n") + INNER + block(b"m"),
    "a device with a size": block(b"c", b"3", 1024) + INNER + block(b"m"),
    "a file with a slash": block(b"f/", size=5) + HELLO,
    "a file with a slash by an extended name": pax((b"path", b"f/")) + block(b"f", size=5) + HELLO,
    "a volume that goes on": block(b"n", b"M", 5) + HELLO,
    "a directory's list": block(b"d/", b"D", 5) + padded(b"Yn\0\0") + block(b"m"),
    "an unknown type": block(b"n", b"Q", 1024) + INNER + block(b"m"),
    "a block of zeros in the middle": block(b"n") + bytes(512) + block(b"m"),
    "a wrong checksum": block(b"n", checksum=7),
    "an unknown version of ustar": block(b"n", magic=b"ustar\x0099", prefix=b"p"),
    "NUL in an extended name": pax((b"path", b"a\0b")) + block(b"n"),
    "an extended header that is cut": block(b"n", b"x", 5000) + bytes(512),
    "an extended record of a wrong length": block(b"x", b"x", 9) + padded(b"99 path=a") + block(b"n"),
    "a sparse map that does not fit": pax(*MAP) + block(b"n", size=4) + padded(b"abcd"),
    "a sparse map before its length": pax(MAP[0], MAP[2], MAP[1]) + block(b"n", size=515) + DATA,
    "a sparse map without a length": pax(MAP[0], MAP[2]) + block(b"n", size=515) + DATA,
    "a sparse map of another length": pax(MAP[0], (b"GNU.sparse.numblocks", b"3"), MAP[2]) + block(size=515) + DATA,
    "a sparse segment in the middle of a block": pax(
        MAP[0], MAP[1], (b"GNU.sparse.map", b"0,2,7,2")
    ) + block(b"n", size=4) + padded(b"abcd"),
}  # fmt: skip


@pytest.fixture(scope="module")
def host() -> Iterator[Cli]:
    """A user with an empty store."""
    with new_cli() as cli:
        yield cli


other: set[str] = set()
"""Which of them became another tree than GNU tar's."""


def ours(host: Cli, data: bytes) -> dict[str, str] | None:
    """The tree that `import` makes; None if it refuses."""
    command = host.command("import", "-q", "-")
    done = subprocess.run(command, input=data, capture_output=True, timeout=60, env=host.environment, check=False)
    if done.returncode:
        assert done.returncode == 125 and done.stderr.startswith(b"Error: cannot "), done.stderr
        assert os.listdir(host.data / "layers") == []
        return None
    (layer,) = (host.data / "layers").iterdir()
    found = layers.listing(layer / "diff")
    host.ok("rmi", done.stdout.decode().strip())
    return found


def of_gnu_tar(data: bytes, tmp_path: Path) -> dict[str, str]:
    """The tree that GNU tar makes."""
    target = tmp_path / "tree"
    target.mkdir()
    subprocess.run(["tar", "-xf", "-", "-C", str(target)], input=data, capture_output=True, check=False)
    return layers.listing(target)


@pytest.mark.parametrize("case", SAME)
def test_same_tree_as_gnu_tar_row_18(host: Cli, tmp_path: Path, case: str) -> None:
    data = SAME[case] + (b"" if case in ("no end", "one block of zeros at the end") else END)
    found, theirs = ours(host, data), of_gnu_tar(data, tmp_path)
    if found != theirs:
        other.add(case)
    assert found and found == theirs


@pytest.mark.parametrize("case", REFUSED)
def test_ambiguous_archives_are_refused_row_18(host: Cli, case: str) -> None:
    found = ours(host, REFUSED[case] + END)
    if found is not None:
        other.add(case)
    assert found is None


def test_odd_archives_row_18(figure: Tell) -> None:
    """The figure of the tests above."""
    figure("odd archives that became another tree than GNU tar's", "= 0", len(other), of=len(SAME) + len(REFUSED))
