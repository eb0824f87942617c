"""Archives that want time, memory or disk: each ends early, in words, and leaves nothing behind."""

from __future__ import annotations

import gzip
import lzma
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rootless.security.confine import unpacker
from storage import ownership
from storage.archive.limits import Limits
from storage.errors import StorageError
from storage.layers_unpack import LayerSource, unpack
from storage.ownership import OwnersWriter
from storage.store import Store
from tests.support import layers
from tests.support.cli import Cli, new_cli
from tests.support.figures import Tell, amount
from tests.support.images import Layout
from tests.support.layers import directory, file, symlink
from tests.support.measured import Took, measured
from tests.support.saved import saved
from tests.support.tarbytes import BLOCK, END, GNU, block, gnu_long, padded, pax

pytestmark = [pytest.mark.needs("userns", "subuid", "newuidmap", "libseccomp"), pytest.mark.timeout(600)]
MIB = 1 << 20
REFUSED = (125, "Error: cannot ")


@pytest.fixture(scope="module")
def host() -> Iterator[Cli]:
    """A user who lets one layer have 64 MiB."""
    with new_cli() as cli:
        (cli.home / "config" / "rootless").mkdir()
        (cli.home / "config" / "rootless" / "rootless.conf").write_text('max_layer_size = "64m"\n')
        cli.ok("images")
        yield cli


worst = {"seconds": 0.0, "MiB": 0.0}
"""The most processor time and memory that any archive here took until it was refused."""


def frugal(took: Took) -> Took:
    """What a command took, which must be within the limits."""
    worst["seconds"] = max(worst["seconds"], took.cpu)
    worst["MiB"] = max(worst["MiB"], took.rss)
    assert took.rss <= 256
    return took


def refused(cli: Cli, *arguments: str, data: bytes | Path = b"") -> Took:
    """A command that must end with one line of error and leave nothing."""
    took = frugal(measured(cli, *arguments, data=data))
    assert (took.code, took.error[:14]) == REFUSED, took
    assert len([line for line in took.error.splitlines() if not line.startswith("hint: ")]) == 1, took.error
    assert cli.parts_of_images() == []
    return took


ONE = (b"GNU.sparse.numblocks", b"1")
NEGATIVE = {
    "size": block(size=b"\xff" * 12),
    "size of a directory": block(b"d", b"5", size=b"\xff" * 11 + b"\xfe"),
    "size that leads back": block(size=b"\xff" * 11 + b"\x00") + block(b"g"),
    "size in octal": block(size=b"-0000000777\0"),
    "size of an extended header": block(b"x", b"x", b"\xff" * 12),
    "size of a long name": block(b"x", b"L", b"\xff" * 12),
    "size of an extended header that leads back": block() + block(b"x", b"x", b"\xff" * 10 + b"\xfc\x00") + block(),
    "size of a label": block(b"x", b"V", b"\xff" * 12) + block(),
    "size in an extended header": pax((b"size", b"-512")) + block(),
    "size of a sparse file": pax(
        ONE, (b"GNU.sparse.size", b"-1"), (b"GNU.sparse.map", b"0,1")
    ) + block(size=1) + bytes(512),
    "offset of a sparse segment": pax(ONE, (b"GNU.sparse.size", b"9"), (b"GNU.sparse.map", b"-1,1")) + block(size=1),
    "number of sparse segments": pax((b"GNU.sparse.numblocks", b"-1"), (b"GNU.sparse.map", b"0,1")) + block(size=1),
    "offset of an old sparse segment": block(
        kind=b"S", size=4, magic=GNU, tail=bytes(41) + b"\xff" * 12 + b"00000000004\0" + bytes(73) + b"00000000005\0",
    ) + padded(b"data"),
    "owner": block(uid=b"\xff" * 8),
    "largest size": block(size=b"\x80" + b"\xff" * 11),
    "nothing but labels": block(b"l", b"V") * 5000 + block(b"d", b"5", 512),
    "nothing but global headers": pax((b"comment", b"x"), kind=b"g") * 5000 + block(b"d", b"5", 512),
    "name after name": gnu_long(b"a") * 2 + block(),
}


@pytest.mark.parametrize("case", NEGATIVE)
def test_negative_sizes_and_offsets_row_9(host: Cli, case: str) -> None:
    assert refused(host, "import", "-q", "-", data=NEGATIVE[case] + END).cpu <= 1


def sparse(kind: str) -> Iterator[bytes]:
    """A file of 10^9 segments, in each of the four ways to write it."""
    if kind == "old GNU":
        entry = b"00000000000\x0000000000000\0"
        extension = (entry * 21).ljust(504, b"\0") + b"\x01" + bytes(7)
        yield block(kind=b"S", magic=GNU, tail=bytes(41) + entry * 4 + b"\x01" + b"00000000005\0")
        yield extension * (16 * MIB // BLOCK)
    elif kind == "0.0":
        one = (b"GNU.sparse.offset", b"1"), (b"GNU.sparse.numbytes", b"0")
        yield pax((b"GNU.sparse.numblocks", b"1000000000"), (b"GNU.sparse.size", b"9"), *one * 20_000) + block()
    elif kind == "0.1":
        pairs = b",".join(b"%d,0" % at for at in range(120_000))
        yield pax((b"GNU.sparse.numblocks", b"120000"), (b"GNU.sparse.map", pairs), (b"GNU.sparse.size", b"9"))
        yield block()
    else:
        major = (b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.realsize", b"9" * 15)
        yield pax(*major) + block(size=1 << 34) + b"1000000000\n" + b"0\n0\n" * (8 * MIB)


@pytest.mark.parametrize("kind", ["old GNU", "0.0", "0.1", "1.0"])
def test_sparse_maps_row_10(host: Cli, tmp_path: Path, kind: str) -> None:
    with gzip.open(tmp_path / "sparse", "wb", 1) as out:
        for part in sparse(kind):
            out.write(part)
    refused(host, "import", "-q", str(tmp_path / "sparse"))


def bomb(path: Path, head: bytes, size: int) -> Path:
    """A file of many gzip streams: ``head``, then ``size`` zeros."""
    step = 64 * MIB
    zeros = gzip.compress(bytes(step), 9, mtime=0)
    with open(path, "wb") as out:
        out.write(gzip.compress(head))
        for _ in range(size // step):
            out.write(zeros)
    return path


def test_trailing_zeros_row_10(cli: Cli, tmp_path: Path) -> None:
    """They belong to the layer, so they are read to the end, and kept nowhere."""
    size = amount(usual=1, nightly=8) << 30
    zeros = bomb(tmp_path / "zeros", block(size=5) + padded(b"hello") + END, size)
    assert zeros.stat().st_size < size / 900
    took = frugal(measured(cli, "import", "-q", str(zeros), "zeros"))
    assert took.code == 0, took.error
    (layer,) = (cli.data / "layers").iterdir()
    assert layers.listing(layer / "diff") == {"f": "= hello"}


BROKEN = {
    "gzip that is cut": lambda data: gzip.compress(data)[:-2000],
    "gzip that breaks": lambda data: (packed := gzip.compress(data))[:4000] + b"\xff" * 64 + packed[4064:],
    "gzip of a wrong sum": lambda data: gzip.compress(data)[:-8] + bytes(8),
    "xz behind gzip's first bytes": lambda data: b"\x1f\x8b\x08\0\0\0\0\0\0\x03" + lzma.compress(data),
    "gzip, then xz": lambda data: gzip.compress(data[:8192]) + lzma.compress(data[8192:]),
    "xz that is cut": lambda data: lzma.compress(data)[:-100],
}


@pytest.mark.parametrize("case", BROKEN)
def test_streams_that_break_row_11(host: Cli, tmp_path: Path, case: str) -> None:
    """By each command that takes an image; the store is free before, meanwhile and afterwards."""
    data = layers.archive([file(f"f{number}", os.urandom(2000).hex()) for number in range(20)])
    packed = BROKEN[case](data)
    tries = [refused(host, "import", "-q", "-", data=packed)]
    layout = Layout(tmp_path / "layout")
    descriptor = layout.add_blob(packed, "application/vnd.oci.image.layer.v1.tar+gzip")
    layout.add_image("latest", [(descriptor, layers.diff_id(data))], {})
    tries.append(refused(host, "pull", "-q", f"oci:{layout.directory}:latest"))
    whole = gzip.compress(saved({"a:1": [data]}))
    tries.append(refused(host, "load", "-q", data=BROKEN[case](whole[:9000] + os.urandom(9000))))
    assert host.ok("images", "-q") == ""
    assert max(took.cpu for took in tries) <= 5


@pytest.mark.parametrize("command", [("import", "-q", "-"), ("load", "-q")])
def test_stream_that_stalls_row_11(host: Cli, busybox_layout: Path, command: tuple[str, ...]) -> None:
    """CVE-2021-20291: whoever holds a stream open holds no lock of the store."""
    process = host.popen(*command)
    assert process.stdin is not None and process.stderr is not None
    process.stdin.write(gzip.compress(layers.archive([file("f", os.urandom(200_000).hex())]))[:100_000])
    process.stdin.flush()
    started = time.monotonic()
    image = host.ok("pull", "-q", f"oci:{busybox_layout}:latest", timeout=30).strip()
    assert image[:12] in host.ok("images", "-q", timeout=30)
    assert host.ok("run", "--rm", "--network=none", image, "echo", "works", timeout=30) == "works\n"
    host.ok("rmi", image, timeout=30)
    host.ok("system", "prune", "-f", timeout=30)
    assert time.monotonic() - started < 60 and process.poll() is None
    process.stdin.close()
    assert process.wait(30) == 125
    assert process.stderr.read().startswith(b"Error: cannot ")
    process.stderr.close()
    if process.stdout is not None:
        process.stdout.close()
    assert host.parts_of_images() == []


def by_image(tmp_path: Path, packed: bytes | Path, media: str = "tar+gzip") -> str:
    """A layout of one image with that layer; what `pull` calls it."""
    layout = Layout(tmp_path / "layout")
    data = packed.read_bytes() if isinstance(packed, Path) else packed
    descriptor = layout.add_blob(data, f"application/vnd.oci.image.layer.v1.{media}")
    layout.add_image("latest", [(descriptor, "sha256:" + "0" * 64)], {})
    return f"oci:{layout.directory}:latest"


def test_ten_gibibytes_of_zeros_row_12(host: Cli, tmp_path: Path) -> None:
    """10 MiB that become 10 GiB stop at the limit that the user has set."""
    size = 10 << 30
    packed = bomb(tmp_path / "bomb", block(b"zeros", size=b"\x80" + size.to_bytes(11, "big")), size)
    assert packed.stat().st_size < 11 * MIB
    took = refused(host, "pull", "-q", by_image(tmp_path, packed))
    assert f"more than {64 * MIB} bytes" in took.error
    refused(host, "import", "-q", str(packed))


def test_archive_in_an_archive_row_12(host: Cli, tmp_path: Path) -> None:
    """What is in a compressed stream is not decompressed again."""
    inner = bomb(tmp_path / "inner", block(size=1 << 30), 1 << 30).read_bytes()
    refused(host, "pull", "-q", by_image(tmp_path, gzip.compress(inner)))
    refused(host, "import", "-q", "-", data=gzip.compress(gzip.compress(inner)))


def frame(window: int, single: bool = False) -> bytes:
    """A zstd frame (RFC 8878) that wants a window of 2^``window`` bytes, with one block of zeros."""
    repeated = (1 | 1 << 1 | (128 << 10) << 3).to_bytes(3, "little") + b"\0"
    if single:
        return b"\x28\xb5\x2f\xfd" + b"\xe0" + (1 << window).to_bytes(8, "little") + repeated
    return b"\x28\xb5\x2f\xfd" + b"\0" + bytes([(window - 10) << 3]) + repeated


@pytest.mark.parametrize("window", [28, 30, 31, 41])
@pytest.mark.parametrize("single", [False, True], ids=["window", "single segment"])
def test_windows_of_zstd_row_12(host: Cli, tmp_path: Path, window: int, single: bool) -> None:
    refused(host, "pull", "-q", by_image(tmp_path, frame(window, single), "tar+zstd"))


def unpacking(tmp_path: Path, data: bytes, limits: Limits) -> str:
    """Unpack a layer as `pull` does, within other limits; the error, after which nothing is left."""
    store = Store.open(str(tmp_path / "data"), str(tmp_path / "run"))
    (tmp_path / "blob").write_bytes(data)
    identity = "sha256:" + "0" * 64
    with pytest.raises(StorageError) as caught:
        unpack(
            store.layout, [LayerSource(identity, str(tmp_path / "blob"))], [identity], in_userns=layers.in_userns,
            confine=unpacker, limits=limits,
        )  # fmt: skip
    assert not (os.listdir(store.layout.layers) or os.listdir(store.layout.tmp))
    return caught.value.message


def test_many_empty_files_row_12(tmp_path: Path) -> None:
    most = amount(usual=20_000, nightly=1_000_000)
    data = gzip.compress(b"".join(block(b"d/%d" % number) for number in range(most + 1)) + END, 1)
    started = time.process_time()
    assert f"more than {most} entries" in unpacking(tmp_path, data, Limits(entries=most))
    assert time.process_time() - started < 60


def test_depth_row_12(host: Cli) -> None:
    """Ten thousand directories deep: by one name, and by a chain of links."""
    refused(host, "import", "-q", "-", data=gnu_long(b"d/" * 10_000) + block(b"d", b"5") + END)
    refused(host, "import", "-q", "-", data=b"".join(
        gnu_long(b"d/" * depth) + block(b"d", b"5") for depth in range(1, 400)
    ) + END)  # fmt: skip


def test_links_that_stand_for_many_names_row_12(tmp_path: Path) -> None:
    """Forty links of two thousand names each, and many ways to write the last one: looking up has an end."""
    items = [directory("d"), *(symlink(f"l{number}", "./" * 2000 + f"l{number - 1}") for number in range(1, 39))]
    items = [items[0], symlink("l0", "./" * 2000 + "d"), *items[1:]]
    items += [file("./" * number + "l38/x") for number in range(100)]
    assert "links need more than" in unpacking(tmp_path, layers.archive(items), Limits(steps=500_000))


def test_owners_that_are_replaced_row_12(tmp_path: Path) -> None:
    """A record of owners, each of which goes again, is read in the time that it takes to read it once."""
    count = 20_000
    path = tmp_path / "owners"
    with open(path, "wb") as out:
        writer = OwnersWriter(out.fileno())
        for number in range(count):
            writer.record(b"d%d/f" % number, 4_000_000_000, 0, 0o644)
        for number in range(count):
            writer.forget(b"d%d" % number)
        writer.record(b"left", 4_000_000_000, 0, 0o644)
        writer.flush()
    started = time.process_time()
    assert list(ownership.load(str(path))) == ["left"]
    assert time.process_time() - started < 5


@pytest.mark.needs("busybox")
def test_many_images_row_12(cli: Cli) -> None:
    """An archive of many images is no fork bomb."""
    count = 40
    data = saved({f"many:{number}": [layers.archive([file("f", str(number))])] for number in range(count)})
    process = cli.popen("load", "-q", stdout=subprocess.DEVNULL)
    assert process.stdin is not None and process.stderr is not None
    process.stdin.write(data)
    process.stdin.close()
    most = 0
    while process.poll() is None:
        most = max(most, len(descendants(process.pid)))
    assert process.returncode == 0, process.stderr.read()
    process.stderr.close()
    assert len(cli.ok("images", "-q").split()) == count
    assert 2 <= most < 20


def test_what_refusals_took_rows_9_10_11_12(host: Cli, figure: Tell) -> None:
    """The figures of the tests above."""
    refused(host, "import", "-q", "-", data=block(size=b"\xff" * 12))
    figure("processor time until an archive was refused that wants time", "≤ 5 s", worst["seconds"])
    figure("memory until an archive was refused that wants memory", "≤ 256 MiB", worst["MiB"])


def descendants(pid: int) -> list[int]:
    """The processes below a process, as far as they are there when they are looked at."""
    found = [pid]
    for each in found:
        try:
            found += map(int, Path(f"/proc/{each}/task/{each}/children").read_text().split())
        except OSError:
            continue
    return found[1:]
