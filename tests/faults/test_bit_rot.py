"""Bit rot: every damaged file of an image is found by ``system check``, and mended without another being touched."""

from __future__ import annotations

import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.index import encode
from tests.support import images, rot
from tests.support.cli import Cli, new_cli
from tests.support.figures import Tell, amount
from tests.support.registry import Registry

BATCH = 24

pytestmark = [pytest.mark.needs("busybox", "subuid", "newuidmap", "docker-registry", "skopeo")]


def _special(path: str, kind: bytes, **fields: object) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(path)
    entry.type = kind
    for name, value in fields.items():
        setattr(entry, name, value)
    return entry


def _layout(target: Path) -> Path:
    """An image with all that a layer can have: owners, set-id bits, devices, hard links, attributes, whiteouts."""
    layout = images.Layout(target)
    capability = images.file("usr/bin/ping", b"ping" * 99, 0o755)
    capability[0].pax_headers = {"SCHILY.xattr.user.note": "a note"}
    first = images.tar_of([
        *(images.directory(name) for name in ("etc", "usr", "usr/bin", "var", "dev")),
        images.directory("tmp", 0o1777), images.directory("home/user", 0o700, 1000, 1000),
        *(images.file(f"usr/bin/{n}", bytes([n]) * (n * 97 + 1), 0o755) for n in range(40)),
        *(images.file(f"home/user/{n}", b"%d" % n * 50, 0o600, 1000, 1000 + n) for n in range(20)),
        images.file("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n"), images.file("etc/empty", b""),
        images.file("usr/bin/su", b"su" * 400, 0o4755), capability,
        _special("usr/bin/other", tarfile.LNKTYPE, linkname="usr/bin/7"),
        _special("usr/bin/link", tarfile.SYMTYPE, linkname="su", mode=0o777),
        _special("dev/null", tarfile.CHRTYPE, devmajor=1, devminor=3, mode=0o666),
        _special("var/pipe", tarfile.FIFOTYPE, mode=0o644),
    ])  # fmt: skip
    second = images.tar_of([  # no entry for etc/, var/ or tmp/: they are as in the layer below
        images.file("etc/new", b"new\n" * 30), images.file("etc/.wh.empty", b""), images.file("tmp/file", b"x" * 5000),
        images.file("var/.wh..wh..opq", b""), images.file("var/lib/state", b"state" * 100, 0o640, 5, 6),
        *(images.file(f"opt/{n}", b"%d" % n * 200) for n in range(30)),
    ])  # fmt: skip
    layout.add_image("latest", [layout.add_layer(first), layout.add_layer(second)], {"Cmd": ["sh"]})
    other = [layout.add_layer(images.busybox_tar())]
    layout.add_image("busybox", other, {"Cmd": ["sh"]})
    return target


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _layout(tmp_path_factory.mktemp("rot") / "layout")


@pytest.fixture
def store(registry: Registry, layout: Path) -> Iterator[Cli]:
    """A store with two images of a registry, a container and a volume."""
    names = [registry.push(layout, f"rot/{tag}", tag) for tag in ("latest", "busybox")]
    with new_cli() as cli:
        for name in names:
            cli.ok("pull", "--quiet", "--tls-verify=false", name)
        cli.ok("create", "--name", "kept", names[1], "sh")
        cli.ok("volume", "create", "data")
        yield cli


@pytest.mark.timeout(amount(usual=300, nightly=3600))
def test_every_damaged_file_is_found_and_mended(store: Cli, figure: Tell) -> None:
    """Whatever is damaged: a bit, all bytes, the end, the file, its mode or its owner."""
    assert store.run("system", "check").stdout == ""
    before = rot.call("picture", str(store.data))
    wanted = amount(usual=200, nightly=2000)
    damaged: list[rot.Damage] = []
    missed: list[rot.Damage] = []
    unmended: list[object] = []
    touched: list[str] = []
    seed = 0
    while len(damaged) < wanted:
        seed += 1
        batch = rot.call("damage", str(store.data), str(seed), str(BATCH))
        batch_names = {each["path"] for each in batch}
        damaged += batch
        found = store.run("system", "check")
        missed += [each for each in batch if each["told"] not in found.stdout or found.returncode != 125]
        mended = store.run("system", "check", "--repair", "--tls-verify=false")
        after = rot.call("picture", str(store.data))
        if mended.returncode or store.run("system", "check").stdout:
            unmended.append((seed, mended.stdout, mended.stderr))
        unmended += [(name, batch) for name in before if before[name][:-1] != after.get(name, [])[:-1]]
        # Inode numbers: a file of a layer that was not damaged is the very same file.
        twins = {tuple(before[name][-1:]) for name in batch_names if name in before}
        touched += [
            name for name in before
            if "/diff/" in name and name not in batch_names and tuple(before[name][-1:]) not in twins
            and before[name][-1] != after.get(name, [0])[-1]]  # fmt: skip
        touched += sorted(after.keys() - before.keys())
        before = {name: [*before[name][:-1], after[name][-1]] for name in before if name in after}
        assert not unmended, unmended[:3]
    assert missed == []
    figure("damaged files found by system check", f"= {len(damaged)}", len(damaged) - len(missed), of=len(damaged))
    figure("damaged files not mended by system check --repair", "= 0", len(unmended), of=len(damaged))
    figure("files touched by a repair that were whole", "= 0", len(touched))


def test_a_layer_is_mended_without_the_registry(cli: Cli, busybox_layout: Path) -> None:
    """What was downloaded is kept: for the files of a layer nothing is fetched."""
    image = cli.ok("pull", "--quiet", f"oci:{busybox_layout}:latest").strip()
    program = next(cli.data.glob("layers/*/diff/bin/busybox"))
    data = program.read_bytes()
    program.write_bytes(bytes(len(data)))
    assert "Exec format error" in cli.fails(126, "run", "--rm", image, "true")
    assert "/bin/busybox: its bytes are not those of the layer (repaired)" in cli.ok("system", "check", "--repair")
    assert program.read_bytes() == data
    assert stat.S_IMODE(program.stat().st_mode) == 0o755
    assert cli.ok("run", "--rm", image, "echo", "whole") == "whole\n"


def test_a_running_container_sees_the_mended_file(cli: Cli, busybox_layout: Path) -> None:
    image = cli.ok("pull", "--quiet", f"oci:{busybox_layout}:latest").strip()
    cli.ok("run", "-d", "--name", "web", image, "sleep", "1000")
    file = next(cli.data.glob("layers/*/diff/srv/second-layer"))
    file.unlink()
    assert "/srv/second-layer: it is missing" in cli.run("system", "check").stdout
    cli.ok("system", "check", "--repair")
    assert cli.ok("exec", "web", "cat", "/etc/os-release").startswith("ID=busybox")
    cli.ok("restart", "-t", "0", "web")
    assert cli.ok("exec", "web", "cat", "/srv/second-layer") == "second\n"
    cli.ok("rm", "-f", "-t", "0", "web")


def test_what_cannot_be_fetched_is_told_and_kept(layout: Path, tmp_path: Path) -> None:
    """A damaged blob while its registry is away: one line, the image stays, and a pull heals it later."""
    with Registry(tmp_path / "registry") as registry, new_cli() as cli:
        name = registry.push(layout, "rot/away", "busybox")
        cli.ok("pull", "--quiet", "--tls-verify=false", name)
        blob = max(cli.data.glob("images/blobs/sha256/*"), key=lambda path: path.stat().st_size)
        good = blob.read_bytes()
        blob.write_bytes(good[:-1] + b"?")
        registry.__exit__()
        failed = cli.run("system", "check", "--repair", "--tls-verify=false", timeout=120)
        assert failed.returncode == 125 and "cannot repair it" in failed.stdout
        assert "Traceback" not in failed.stderr + failed.stdout
        assert name.rpartition(":")[0] in cli.ok("images")
        registry.__enter__()
        cli.ok("pull", "--quiet", "--tls-verify=false", name)
        assert blob.read_bytes() == good
        assert cli.ok("system", "check") == ""


def test_quick_reads_no_content(cli: Cli, busybox_layout: Path) -> None:
    cli.ok("pull", "--quiet", f"oci:{busybox_layout}:latest")
    file = next(cli.data.glob("layers/*/diff/srv/second-layer"))
    file.write_bytes(b"other\n")
    assert cli.ok("system", "check", "--quick") == ""
    assert "/srv/second-layer" in cli.run("system", "check").stdout
    file.parent.parent.parent.joinpath("layer.json").write_text("")
    assert "its record is missing or damaged" in cli.run("system", "check", "-q").stdout


def test_old_layers_that_nothing_needs(cli: Cli, busybox_layout: Path) -> None:
    """--max: content that nothing needs is told from an age on, and removed by a repair."""
    image = cli.ok("pull", "--quiet", f"oci:{busybox_layout}:latest").strip()
    index = cli.data / "images/index.json"
    whole = index.read_bytes()
    cli.ok("pull", "--quiet", f"oci:{busybox_layout}:latest")
    assert cli.ok("system", "check", "--max", "0s") == ""
    index.write_bytes(encode([]))  # the image is gone, and nobody collected its layers
    assert whole != index.read_bytes()
    assert cli.ok("system", "check") == ""
    assert "no image and no container needs this layer" in cli.run("system", "check", "--max", "0s").stdout
    assert cli.run("system", "check", "--max", "soon").returncode == 125
    cli.ok("system", "check", "--max", "0s", "--repair")
    assert list(cli.data.glob("layers/*")) == []
    assert cli.run("run", "--rm", "--pull=never", image, "true").returncode == 125
