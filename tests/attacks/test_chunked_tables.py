"""Tables of contents of zstd:chunked layers that are made to cost: the layer comes as a whole, in bounded memory."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import pytest
import zstandard

from storage.archive import chunked, chunked_write
from tests.fakes.registry import CONFIG, FakeRegistry
from tests.integration.test_partial_pull import ZSTD, put, tree
from tests.support.cli import Cli
from tests.support.figures import Tell
from tests.support.layers import archive, diff_id, file
from tests.support.measured import measured

pytestmark = [pytest.mark.needs("userns", "subuid", "newuidmap", "libseccomp"), pytest.mark.timeout(300)]

MOST = 24 << 20  # what a table may say it holds
ENTRY = b'{"type":"reg","name":"","size":1,"offset":%d,"endOffset":%d},'


def packed(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=3).compress(data)


def entries() -> bytes:
    """As many files as fit."""
    many = b"".join(ENTRY % (number, number + 1) for number in range(300_000))
    return b'{"version":1,"entries":[' + many[: MOST - 100].rpartition(b",{")[0] + b"]}"


def bombs() -> dict[str, tuple[bytes, int, bytes, int]]:
    """By name: the table as it is compressed, the size that is told of it, and the same for the tar-split."""
    empty = b'{"version":1,"entries":[]}'
    plain = packed(empty), len(empty)
    nested = b'{"version":1,"entries":[' + b"[" * 10_000_000
    wide = b'{"version":1,"entries":[{"x":[' + b"1," * 10_000_000 + b"1]}]}"
    lines = b"\n" * MOST
    named = b'{"type":1,"name":"' + b"x" * (MOST - 100) + b'","size":5,"payload":"","position":0}\n'
    listed = b"[" + b"1," * ((MOST - 10) // 2) + b"1]\n"
    window = bytearray(packed(bytes(1 << 20) + empty))
    window[4] = 0  # a frame without its size, and with a window of
    window[5:5] = b"\xf8"  # two terabytes
    return {
        "entries": (packed(entries()), len(entries()), *plain), "nested": (packed(nested), len(nested), *plain),
        "wide": (packed(wide), len(wide), *plain), "larger": (packed(bytes(1 << 30)), 1000, *plain),
        "larger-by-far": (packed(bytes(1 << 30)), MOST, *plain), "window": (bytes(window), 1000, *plain),
        "lines": (*plain, packed(lines), len(lines)), "name": (*plain, packed(named), len(named)),
        "list": (*plain, packed(listed), len(listed)),
    }  # fmt: skip


def hostile(fake: FakeRegistry, tmp_path: Path, tag: str, table: tuple[bytes, int, bytes, int]) -> str:
    """Hold an image with such a table behind a good archive; the layer's digest."""
    data = archive([*tree(), file("of", tag)])
    with (tmp_path / "layer").open("w+b") as target:
        layer = chunked_write.convert(io.BytesIO(data), target.fileno())
    tail = int(layer.annotations[chunked.POSITION].partition(":")[0]) - chunked.FRAME_HEADER
    frames = (tmp_path / "layer").read_bytes()[:tail]
    compressed, size, split, split_size = table
    where = tail + 8, len(compressed), size
    split_where = tail + 16 + len(compressed), len(split), split_size
    parts = [frames, *(chunked.skippable(part) for part in (compressed, split, chunked.footer(where, split_where)))]
    descriptor: dict[str, Any] = fake.put_blob(b"".join(parts), ZSTD)
    descriptor["annotations"] = {
        chunked.CHECKSUM: f"sha256:{hashlib.sha256(compressed).hexdigest()}",
        chunked.POSITION: "{}:{}:{}:1".format(*where), chunked.TAR_SPLIT_POSITION: "{}:{}:{}".format(*split_where),
    }  # fmt: skip
    document = {
        "architecture": "amd64", "os": "linux", "config": {},
        "rootfs": {"type": "layers", "diff_ids": [diff_id(data)]},
    }  # fmt: skip
    config = fake.put_blob(json.dumps(document).encode(), CONFIG)
    fake.put_manifest("app", {"schemaVersion": 2, "config": config, "layers": [descriptor]}, tag)
    return str(descriptor["digest"])


def test_tables_that_are_bombs_row_12(cli: Cli, tmp_path: Path, figure: Tell) -> None:
    most = 0.0
    with FakeRegistry() as fake:
        put(fake, tmp_path, "one", tree())
        cli.ok("pull", "-q", "--tls-verify=false", f"{fake.host}/app:one")
        for name, table in bombs().items():
            digest = hostile(fake, tmp_path, name, table)
            took = measured(cli, "pull", "-q", "--tls-verify=false", f"{fake.host}/app:{name}")
            assert (took.code, took.cpu < 60) == (0, True), f"{name}: {took}"
            stored = cli.data / "images/blobs/sha256" / digest[7:]
            assert stored.read_bytes() == fake.blobs[digest], name
            assert len(fake.requests(digest)) == 2, name  # its table, and then all of it
            most = max(most, took.rss)
    figure("memory of a pull with a hostile table of contents", "≤ 256 MiB", most)
