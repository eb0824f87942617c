"""Random archives: the extractor against a model of a file system, and damaged bytes against everything."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import random
import tempfile
from collections.abc import Callable
from pathlib import Path

import zstandard
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from storage.archive.limits import Limits
from storage.errors import StorageError
from tests.support import generated, layers
from tests.support.canary import Canary
from tests.support.layers import directory, fifo, file, hardlink, symlink

BOUNDED = settings(
    max_examples=int(os.environ.get("ROOTLESS_TEST_FUZZ_EXAMPLES", "400")), deadline=None, database=None,
    suppress_health_check=list(HealthCheck),
)
SMALL = Limits(bytes=8 << 20, entries=1000, directories=500, depth=40)


@BOUNDED
@given(st.randoms(use_true_random=False))
def test_extractor_agrees_with_the_model(draw: random.Random) -> None:
    """The generator of `tests.support.generated`, steered so that what it finds is made small."""
    archive = generated.generate(draw)
    umask = os.umask(0)
    try:
        with tempfile.TemporaryDirectory() as base:
            trial = generated.Trial(base)
            found, odd = trial.unpack(archive.data)
            trial.remove()
            assert os.listdir(base) == []
    finally:
        os.umask(umask)
    assume(not odd.startswith("PermissionError"))  # who is not root cannot look into what the archive has closed
    assert odd == ""
    if archive.items is not None:
        assert found == trial.expected(archive.items)


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes, "gzip": gzip.compress, "xz": lzma.compress, "bzip2": bz2.compress, "zstd": zstandard.compress,
}
SEED = layers.archive([
    directory("d"), file("d/f", "content" * 50, xattrs={"user.note": b"v" * 40}), symlink("l", "d"),
    hardlink("h", "d/f"),
    file("x" * 150, "y"), fifo("p"), file(".wh.gone"), layers.device("n", "c", 1, 3),
])
change = st.tuples(st.integers(0, len(SEED) * 2), st.binary(min_size=1, max_size=12), st.booleans())


@BOUNDED
@given(st.sampled_from(sorted(PACKERS)), st.lists(change, min_size=1, max_size=6), st.booleans(), st.booleans())
def test_damaged_archives(packer: str, changes: list[tuple[int, bytes, bool]], packed: bool, fix: bool) -> None:
    """Bytes changed or inserted, before or after compression: a tree or one error, in bounded time and space."""
    data = bytearray(PACKERS[packer](SEED) if packed else SEED)
    for at, text, insert in changes:
        at %= len(data) + 1
        data[at : at if insert else at + len(text)] = text
    if fix and not packed:
        _fix_checksums(data)
    blob = bytes(data) if packed else PACKERS[packer](bytes(data))
    with tempfile.TemporaryDirectory() as base:
        canary = Canary(Path(base, "canary"))
        try:
            layers.extract(blob, Path(base, "tree"), SMALL)
        except StorageError as error:
            assert error.message.startswith("cannot")
        canary.check()
        assert sorted(os.listdir(base)) == ["canary", "tree", "tree.owners"]


def _fix_checksums(data: bytearray) -> None:
    """Let changed headers reach the code behind the checksum."""
    for at in range(0, len(data) - 511, 512):
        if data[at + 257 : at + 262] == b"ustar":
            data[at + 148 : at + 156] = b" " * 8
            data[at + 148 : at + 156] = b"%06o\0 " % sum(data[at : at + 512])
