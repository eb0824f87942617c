"""Images between this program, podman and skopeo: what one saves the others load, with equal digests and files."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import callers
from tests.support.callers import Podman
from tests.support.cli import Cli, new_cli
from tests.support.copying import bytes_of
from tests.support.fixtures import require
from tests.support.images import Layout, busybox_tar
from tests.support.places import OWN

pytestmark = pytest.mark.needs("subuid", "newuidmap", "overlay", "busybox", "podman", "conmon", "skopeo")

FORMATS = ("docker-archive", "oci-archive", "docker-dir", "oci-dir")
TRANSPORTS = {"docker-archive": "docker-archive", "oci-archive": "oci-archive", "docker-dir": "dir", "oci-dir": "oci"}


def odd_layer() -> bytes:
    """A layer with what is easily lost: owners, set-id bits, times, attributes, links, a deletion."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:

        def add(name: str, kind: bytes = tarfile.REGTYPE, data: bytes = b"", **fields: Any) -> None:
            member = tarfile.TarInfo(name)
            member.type, member.size, member.mtime, member.mode = kind, len(data), 981173106, 0o644
            for field, value in fields.items():
                setattr(member, field, value)
            archive.addfile(member, io.BytesIO(data))

        add("srv", tarfile.DIRTYPE, mode=0o1751, uid=33, gid=34)
        note = {"SCHILY.xattr.user.note": "yes"}
        add("srv/file", data=b"text" * 3000, mode=0o4711, uid=1000, gid=2000, pax_headers=note)
        add("srv/hard", tarfile.LNKTYPE, linkname="srv/file", mode=0o4711, uid=1000, gid=2000)
        add("srv/link", tarfile.SYMTYPE, linkname="/etc/passwd", mode=0o777)
        add("srv/pipe", tarfile.FIFOTYPE, mode=0o600, uid=7, gid=8)
        add("srv/" + "n" * 200, data=b"long", mtime=1.5)
        add("etc/.wh.hostname")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = Layout(tmp_path_factory.mktemp("peers") / "layout")
    layers = [made.add_layer(busybox_tar()), made.add_layer(odd_layer())]
    made.add_image("latest", layers, {"Cmd": ["cat", "/srv/file"], "Labels": {"maker": "tests"}})
    return made.directory


@pytest.fixture(scope="module")
def podman(layout: Path) -> Iterator[Podman]:
    require("podman", "conmon", "busybox", "subuid", "newuidmap", "overlay")
    with callers.podman(OWN) as made:
        made.ok("tag", made.ok("pull", "--quiet", f"oci:{layout}:latest"), "localhost/odd")
        yield made


@pytest.fixture(scope="module")
def ours(layout: Path) -> Iterator[Cli]:
    with new_cli() as cli:
        cli.ok("tag", cli.ok("pull", "-q", f"oci:{layout}:latest").strip(), "localhost/odd")
        yield cli


def facts(archive: bytes) -> dict[str, tuple[Any, ...]]:
    """What an exported root file system is, but for what a runtime makes in it."""
    made = ("dev", "proc", "sys", "run", "etc/resolv.conf", "etc/hosts", "etc/hostname", "etc/mtab", "tmp", "etc")
    found: dict[str, tuple[Any, ...]] = {}
    with tarfile.open(fileobj=io.BytesIO(archive)) as members:
        for member in members:
            name = member.name.strip("/")
            if name in ("", ".") or name.partition("/")[0] in made or name in made:
                continue
            file = members.extractfile(member) if member.isreg() else None
            content = hashlib.sha256(file.read()).hexdigest() if file else member.linkname
            noted = {} if member.islnk() else member.pax_headers  # podman repeats those of a file at each link to it
            attributes = sorted(item for item in noted.items() if "xattr" in item[0])
            mode, time = member.mode & 0o7777, int(member.mtime)
            found[name] = (member.type, mode, member.uid, member.gid, time, content, attributes)
    return found


def rootfs(program: Podman | Cli, image: str) -> dict[str, tuple[Any, ...]]:
    container = program.ok("create", "--network", "none", image, "true").strip()
    try:
        if isinstance(program, Cli):
            return facts(bytes_of(program, "export", container))
        done = subprocess.run(
            program.words("export", container), capture_output=True, env=program.place.environment, check=True
        )
        return facts(done.stdout)
    finally:
        program.ok("rm", container)


def inspected(*words: str) -> dict[str, Any]:
    done = subprocess.run(["skopeo", "--insecure-policy", *words], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def identity(program: Podman | Cli, image: str) -> str:
    return program.ok("image", "inspect", "--format", "{{.Id}}", image).strip()


@pytest.mark.parametrize("form", FORMATS)
def test_podman_and_skopeo_read_what_is_saved(ours: Cli, podman: Podman, tmp_path: Path, form: str) -> None:
    target = podman.place.home / f"ours-{form}"
    ours.ok("save", "-q", "--format", form, "-o", str(target), "odd")
    layers = json.loads(ours.ok("image", "inspect", "odd"))[0]["RootFS"]["Layers"]
    assert inspected("inspect", "--config", f"{TRANSPORTS[form]}:{target}")["rootfs"]["diff_ids"] == layers
    copied = podman.place.home / f"copied-{form}"
    command = ["skopeo", "--insecure-policy", "copy", "-q", f"{TRANSPORTS[form]}:{target}", f"dir:{copied}"]
    subprocess.run(command, check=True, capture_output=True)
    manifest = json.loads((copied / "manifest.json").read_bytes())
    assert manifest["config"]["digest"] == f"sha256:{identity(ours, 'odd')}"
    if form == "oci-archive":
        stored = {path.name for path in (ours.data / "images/blobs/sha256").iterdir()}
        assert {entry["digest"][7:] for entry in manifest["layers"]} <= stored
    podman.ok("rmi", "--force", identity(podman, "odd"))
    loaded = podman.ok("load", "--quiet", "--input", str(target))
    name = loaded.rpartition("Loaded image: ")[2].strip()
    assert identity(podman, name) == identity(ours, "odd")
    podman.ok("tag", name, "localhost/odd")
    assert podman.ok("run", "--rm", "--network", "none", name) == "text" * 3000
    assert rootfs(podman, name) == rootfs(ours, "odd")


@pytest.mark.parametrize("form", FORMATS)
def test_what_podman_saves_is_loaded(ours: Cli, podman: Podman, form: str) -> None:
    target = podman.place.home / f"theirs-{form}"
    podman.ok("save", "--quiet", "--format", form, "--output", target, "odd")
    with new_cli() as fresh:
        name = fresh.ok("load", "-q", "-i", str(target)).removeprefix("Loaded image: ").strip()
        assert identity(fresh, name) == identity(podman, "odd")
        assert fresh.ok("run", "--rm", "--network", "none", name) == "text" * 3000
        assert rootfs(fresh, name) == rootfs(ours, "odd")


@pytest.mark.parametrize("driver", ["overlay", "vfs"])
def test_podmans_storage_is_read(ours: Cli, podman: Podman, layout: Path, driver: str) -> None:
    """Layers are made again from podman's files; nothing is written there."""
    root = podman.place.home / ("storage" if driver == "overlay" else "vfs")
    if driver == "vfs":
        target = f"containers-storage:[vfs@{root}+{podman.place.home}/vfs-run]localhost/odd:latest"
        podman.place.ok("skopeo", "--insecure-policy", "copy", "-q", f"oci:{layout}:latest", target)
    before = {path: path.lstat().st_mtime_ns for path in root.glob("*/*")}
    with new_cli() as fresh:
        image = fresh.ok("pull", "-q", f"containers-storage:[{driver}@{root}]odd").strip()
        assert image == identity(ours, "odd")
        assert fresh.ok("images", "--format", "{{.Repository}}").strip() == "localhost/odd"
        assert rootfs(fresh, "odd") == rootfs(ours, "odd")
        assert fresh.ok("system", "check") == ""
        (Path(fresh.environment["XDG_CONFIG_HOME"]) / "containers").mkdir()
        conf = Path(fresh.environment["XDG_CONFIG_HOME"]) / "containers/storage.conf"
        conf.write_text(f'[storage]\ndriver = "{driver}"\ngraphroot = "{root}"\n')
        assert fresh.ok("pull", "-q", f"containers-storage:{image[:12]}").strip() == image
        assert "no such image" in fresh.fails(125, "pull", "-q", "containers-storage:missing")
        assert "push to a registry" in fresh.fails(125, "push", "-q", "odd", "containers-storage:odd")
    assert {path: path.lstat().st_mtime_ns for path in root.glob("*/*")} == before


def test_export_and_import_keep_everything(ours: Cli, podman: Podman) -> None:
    container = ours.ok("create", "--network", "none", "odd").strip()
    archive = podman.place.home / "root.tar"
    ours.ok("export", "-o", str(archive), container)
    with new_cli() as fresh:
        fresh.ok("import", "-q", "-c", 'CMD ["cat", "/srv/file"]', str(archive), "again")
        assert rootfs(fresh, "again") == rootfs(ours, "odd")
        assert fresh.ok("run", "--rm", "--network", "none", "again") == "text" * 3000
    podman.ok("import", "--quiet", archive, "localhost/again")
    assert rootfs(podman, "localhost/again") == rootfs(ours, "odd")
    ours.ok("rm", container)


def test_what_is_committed_runs_under_podman(ours: Cli, podman: Podman) -> None:
    script = "echo new > /srv/new; chown 5:6 /srv/new; rm /srv/hard"
    ours.ok("run", "--network", "none", "--replace", "--name", "c", "odd", "sh", "-c", script)
    ours.ok("commit", "-q", "-c", 'CMD ["cat", "/srv/new"]', "c", "changed")
    archive = podman.place.home / "changed.tar"
    for form in ("docker-archive", "oci-archive"):
        archive.unlink(missing_ok=True)
        ours.ok("save", "-q", "--format", form, "-o", str(archive), "changed")
        podman.ok("load", "--quiet", "--input", archive)
        assert podman.ok("run", "--rm", "--network", "none", "localhost/changed") == "new"
        assert rootfs(podman, "localhost/changed") == rootfs(ours, "changed")
        podman.ok("rmi", "--force", "localhost/changed")
