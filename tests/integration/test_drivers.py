"""The storage drivers on real mounts: what a container sees of layers, hostile ones included, is the same on each."""

from __future__ import annotations

import os
import signal
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from rootless import idmaps, userns
from rootless.engine.containers import probe
from rootless.engine.context import Engine
from storage import drivers
from storage.drivers import host
from storage.drivers.overlay import OverlayDriver
from storage.errors import StorageError
from storage.layers import Layers
from storage.layers_remap import remap
from storage.store import Store
from tests.support import layers, mounting
from tests.support.fixtures import require

if TYPE_CHECKING:
    from storage.drivers.base import Driver, RootfsMount

NEEDS = {"overlay": ("overlay",), "fuse-overlayfs": ("fuse-overlayfs", "fuse"), "copy": ()}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "data"), str(tmp_path / "run"))


@pytest.fixture(params=drivers.NAMES)
def driver(request: pytest.FixtureRequest, store: Store) -> Driver:
    require("userns", *NEEDS[request.param])
    return drivers.choose(store.layout, mounting.probe, layers.in_userns, request.param)


def image(store: Store, tmp_path: Path, contents: list[list[layers.Item]]) -> list[str]:
    """Unpack an image; the directories of its layers."""
    archives = [layers.archive(items) for items in contents]
    return Layers(store.layout).paths(layers.unpack_all(store.layout, archives, tmp_path))


def container(tmp_path: Path, name: str = "container") -> str:
    (tmp_path / name).mkdir(mode=0o700)
    return str(tmp_path / name)


def entry(path: Path) -> list[Any]:
    """What a container sees of one file."""
    status = os.lstat(path)
    return [stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, status.st_mtime_ns, status.st_nlink]


CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")  # CAP_NET_RAW, permitted and effective
RICH = [
    [
        layers.directory("./", 0o750),
        layers.file("bin/su", "x", 0o4755),
        layers.file("bin/ping", "x", 0o755, xattrs={"security.capability": CAPABILITY}),
        layers.directory("var/mail", 0o2775, gid=8),
        layers.file("var/mail/box", "x", 0o660, uid=33, gid=33),
        layers.directory("tmp", 0o1777),
        layers.file("a", "linked", uid=5, gid=6),
        layers.hardlink("b", "a"),
        layers.file("noted", "x", xattrs={"user.note": b"hello"}),
    ],
    [layers.file("tmp/x", "x"), layers.file("etc/new", "x", mtime=-86400)],
]


@pytest.mark.needs("subuid")
def test_metadata(driver: Driver, store: Store, tmp_path: Path) -> None:
    """Owners, modes, times, hard links, capabilities and attributes arrive in the container."""
    root = driver.prepare(container(tmp_path), image(store, tmp_path, RICH))

    def look(merged: Path) -> dict[str, Any]:
        found = {name: entry(merged / name) for name in
                 (".", "bin/su", "var/mail", "var/mail/box", "tmp", "a", "b", "tmp/x", "etc/new")}
        found["note"] = [os.getxattr(merged / "noted", "user.note").decode()]
        found["capability"] = [os.getxattr(merged / "bin/ping", "security.capability").hex()]
        return found

    time = 1_000_000_000_000_000_000
    found = mounting.inside(root, look)
    assert found["."][0] == 0o750
    assert found["bin/su"][:4] == [0o4755, 0, 0, time]
    assert found["var/mail"][:4] == [0o2775, 0, 8, time]
    assert found["var/mail/box"][:4] == [0o660, 33, 33, time]
    assert found["tmp"][:4] == [0o1777, 0, 0, time], "a directory that the upper layer only implies"
    assert found["a"][1:] == found["b"][1:] == [5, 6, time, 2]
    assert found["etc/new"][3] == -86400 * 10**9
    assert found["note"] == ["hello"]
    assert found["capability"][0].startswith("01000002002000000000000000000000")


def test_changes_stay_and_layers_do_not_change(driver: Driver, store: Store, tmp_path: Path) -> None:
    lower = [layers.file(name, "low") for name in ("keep", "gone", "d/gone", "d/keep")]
    directories = image(store, tmp_path, [[*lower, layers.symlink("s", "d")]])
    before = layers.evaluate(lambda: layers.listing(Path(directories[0])))
    home = container(tmp_path)

    def change(merged: Path) -> None:
        (merged / "keep").write_text("changed")
        (merged / "gone").unlink()
        (merged / "d" / "new").write_text("new")

    mounting.inside(driver.prepare(home, directories), change)
    found = mounting.inside(driver.prepare(home, directories), layers.listing)
    assert (found["keep"], found["d/new"], "gone" in found) == ("= changed", "= new", False)
    assert layers.evaluate(lambda: layers.listing(Path(directories[0]))) == before


@pytest.mark.parametrize("count", [1, 120])
def test_many_layers(driver: Driver, store: Store, tmp_path: Path, count: int) -> None:
    contents = [[layers.file(f"f{number}", str(number)), layers.file("last", str(number))] for number in range(count)]
    root = driver.prepare(container(tmp_path), image(store, tmp_path, contents))
    found = mounting.inside(root, layers.listing)
    assert len(found) == count + 1
    assert found["last"] == f"= {count - 1}"


def test_image_without_layers(driver: Driver, tmp_path: Path) -> None:
    root = driver.prepare(container(tmp_path), [])
    assert mounting.inside(root, layers.listing) == {}


def test_empty_layers_and_repeated_ones(driver: Driver, store: Store, tmp_path: Path) -> None:
    root = driver.prepare(container(tmp_path), image(store, tmp_path, [[], [layers.file("f", "x")], []]))
    assert mounting.inside(root, layers.listing) == {"f": "= x"}


@pytest.mark.needs("subuid")
def test_another_id_map(driver: Driver, store: Store, tmp_path: Path) -> None:
    """With keep-id every owner has the image's number in the container, and new files too."""
    items = [
        layers.file("root", "x"), layers.file("one", "x", uid=1, gid=1), layers.file("high", "x", uid=60000, gid=60001),
        layers.file("su", "x", 0o4711), layers.directory("d", uid=7), layers.symlink("l", "one"),
    ]
    archives = [layers.archive(items)]
    diff_ids = layers.unpack_all(store.layout, archives, tmp_path)
    stored, wanted = idmaps.default_map(), idmaps.keep_id()
    announced: list[int] = []
    key = ""
    if not driver.maps_ids:
        for _ in range(2):
            remap(store.layout, diff_ids, stored=stored, wanted=wanted, in_userns=layers.in_userns,
                  announce=announced.append)
        key = wanted.key()
        assert announced == [4]
    directories = Layers(store.layout).paths(diff_ids, key)
    root = driver.prepare(container(tmp_path), directories, stored=stored, wanted=wanted)

    def look(merged: Path) -> dict[str, list[Any]]:
        (merged / "new").write_text("x")
        (merged / "new").chmod(0o644)
        os.chown(merged / "new", 5, 1)
        return {name: entry(merged / name)[:3] for name in ("root", "one", "high", "su", "d", "new")}

    def run(function: Any, mount_ns: bool) -> Any:
        import json

        return json.loads(userns.run_in_userns(lambda: json.dumps(function()).encode(), wanted, mount_ns=mount_ns))

    found = mounting.inside(root, look, run)
    assert found == {
        "root": [0o644, 0, 0], "one": [0o644, 1, 1], "high": [0o644, 60000, 60001], "su": [0o4711, 0, 0],
        "d": [0o755, 7, 0], "new": [0o644, 5, 1],
    }


@pytest.mark.needs("subuid")
def test_map_without_the_owner(store: Store, tmp_path: Path) -> None:
    """An owner that the other map lacks becomes nobody there, and stays known to the sidecar."""
    from storage import ownership

    diff_ids = layers.unpack_all(
        store.layout, [layers.archive([layers.file("f", "x", uid=5000), layers.device("n", "c", 1, 3)])], tmp_path
    )
    stored = idmaps.default_map()
    wanted = idmaps.IdMap([(0, stored.uids[1][1], 100)], [(0, stored.gids[1][1], 100)])
    remap(store.layout, diff_ids, stored=stored, wanted=wanted, in_userns=layers.in_userns)
    directory = Layers(store.layout).path(diff_ids[0], wanted.key())
    owners = ownership.load(f"{os.path.dirname(directory)}/owners")
    assert owners["f"]["uid"] == 5000
    assert owners["n"].get("device") == [1, 3]
    assert layers.evaluate(lambda: os.stat(f"{directory}/f").st_uid) == 1  # the map's root, as the default map sees it


def test_choice_is_remembered_and_explained(store: Store) -> None:
    require("userns", "overlay")
    calls: list[RootfsMount] = []

    def counting(root: RootfsMount) -> str:
        calls.append(root)
        return mounting.probe(root)

    for _ in range(2):
        chosen = drivers.choose(store.layout, counting, layers.in_userns)
        assert chosen.name == "overlay"
        assert "mounts" in chosen.why
    assert len(calls) == 1
    assert os.listdir(store.layout.tmp) == []


def test_choice_falls_back_to_copy(store: Store) -> None:
    chosen = drivers.choose(store.layout, lambda root: "no such thing", layers.in_userns)
    assert chosen.name == "copy"
    assert "no overlay: no such thing" in chosen.why


def test_choice_without_an_answer_is_not_remembered(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    require("userns", "overlay")

    def killed(root: RootfsMount) -> str:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError(root)

    def chosen() -> Driver:
        return Engine(store, idmaps.default_map(), {}).driver

    with monkeypatch.context() as patch:
        patch.setattr(probe, "attempt", killed)
        assert chosen().name == "copy"
        assert "no overlay: a helper process in the user namespace ended with status -9" in chosen().why
    assert chosen().name == "overlay"
    assert os.path.exists(store.layout.driver_cache)


@pytest.mark.parametrize("wanted", ["overlay", "vfs"])
def test_driver_that_is_asked_for_and_does_not_work(store: Store, wanted: str) -> None:
    with pytest.raises(StorageError, match="storage driver"):
        drivers.choose(store.layout, lambda root: "no such thing", layers.in_userns, wanted)


def test_directory_as_root(tmp_path: Path) -> None:
    assert host.directory(str(tmp_path))["merged"] == str(tmp_path)
    with pytest.raises(StorageError, match="no such directory"):
        host.directory(str(tmp_path / "missing"))


def test_throw_away_over_a_directory(driver: Driver, tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "f").write_text("host")
    if driver.name == "copy":
        with pytest.raises(StorageError, match="cannot put an overlay"):
            host.throw_away(container(tmp_path), str(tmp_path / "root"), driver, idmaps.default_map())
        return
    root = host.throw_away(container(tmp_path), str(tmp_path / "root"), driver, idmaps.default_map())

    def change(merged: Path) -> str:
        (merged / "f").write_text("changed")
        return (merged / "f").read_text()

    assert mounting.inside(root, change) == "changed"
    assert (tmp_path / "root" / "f").read_text() == "host"


def test_throw_away_over_the_whole_host(store: Store, tmp_path: Path) -> None:
    require("userns", "overlay")
    root = host.throw_away(container(tmp_path), "/", OverlayDriver(store.layout, ""), idmaps.default_map())
    entries = {item["name"]: item for item in root.get("entries", [])}
    assert entries["proc"]["kind"] == entries["dev"]["kind"] == "skip"
    assert entries["usr"]["kind"] == "dir"
    for name in os.listdir("/"):
        if os.path.islink(f"/{name}"):
            assert entries[name]["target"] == os.readlink(f"/{name}")
    usr = entries["usr"]
    value: RootfsMount = {
        **root, "kind": "overlay", "lower": [usr["lower"]], "upper": usr["upper"], "work": usr["work"],
    }
    assert "bin" in mounting.inside(value, lambda merged: os.listdir(merged))
