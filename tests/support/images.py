"""Images made on this machine, without a registry: OCI image layouts written by hand, as skopeo reads them."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
MEDIA_TYPE = "application/vnd.oci.image"
IN_USERNS = ("unshare", "--user", "--map-root-user", "--map-auto", "--mount")


def busybox_path() -> str | None:
    """The path of a statically linked busybox, or None."""
    for candidate in ("/bin/busybox", "/usr/bin/busybox", shutil.which("busybox")):
        if candidate and shutil.which(candidate):
            linked = subprocess.run(["ldd", candidate], capture_output=True, text=True, check=False)
            if linked.returncode != 0 or "statically linked" in linked.stdout:
                return candidate
    return None


class Layout:
    """An OCI image layout that is being written.

    >>> layout = Layout(directory)
    >>> layout.add_image("latest", [layout.add_layer(tar)], {"Cmd": ["sh"]})
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.blobs = directory / "blobs" / "sha256"
        self.blobs.mkdir(parents=True, exist_ok=True)
        self.manifests: list[dict[str, Any]] = []
        (directory / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')

    def add_blob(self, data: bytes, media_type: str) -> dict[str, Any]:
        """Store a blob; its descriptor."""
        digest = hashlib.sha256(data).hexdigest()
        (self.blobs / digest).write_bytes(data)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}

    def add_layer(self, tar: bytes) -> tuple[dict[str, Any], str]:
        """Store an uncompressed archive as a gzip layer; its descriptor and its DiffID."""
        packed = gzip.compress(tar, compresslevel=1, mtime=0)
        descriptor = self.add_blob(packed, f"{MEDIA_TYPE}.layer.v1.tar+gzip")
        return descriptor, f"sha256:{hashlib.sha256(tar).hexdigest()}"

    def add_layer_file(self, tar: Path) -> tuple[dict[str, Any], str]:
        """As :meth:`add_layer` for an archive too large for memory; ``tar`` is consumed."""
        with tar.open("rb") as stream:
            diff_id = hashlib.file_digest(stream, "sha256").hexdigest()
        subprocess.run(["gzip", "--no-name", "-6", "--force", str(tar)], check=True)
        packed = tar.with_name(tar.name + ".gz")
        with packed.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        size = packed.stat().st_size
        packed.rename(self.blobs / digest)
        descriptor = {"mediaType": f"{MEDIA_TYPE}.layer.v1.tar+gzip", "digest": f"sha256:{digest}", "size": size}
        return descriptor, f"sha256:{diff_id}"

    def add_image(
        self,
        tag: str,
        layers: Sequence[tuple[dict[str, Any], str]],
        config: Mapping[str, Any],
        platform: Mapping[str, str] | None = None,
        annotations: Mapping[str, str] | None = None,
    ) -> str:
        """Write config and manifest, with ``annotations``, and name the image ``tag``; the manifest's digest."""
        platform = platform or host_platform()
        document: dict[str, Any] = {
            "created": "2024-01-01T00:00:00Z",
            **platform,
            "config": {"Env": [PATH], **config},
            "rootfs": {"type": "layers", "diff_ids": [diff_id for _, diff_id in layers]},
            "history": [{"created": "2024-01-01T00:00:00Z", "created_by": "test"} for _ in layers],
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": f"{MEDIA_TYPE}.manifest.v1+json",
            "config": self.add_blob(_json(document), f"{MEDIA_TYPE}.config.v1+json"),
            "layers": [descriptor for descriptor, _ in layers],
            **({"annotations": annotations} if annotations else {}),
        }
        descriptor = self.add_blob(_json(manifest), f"{MEDIA_TYPE}.manifest.v1+json")
        self.manifests.append({**descriptor, "annotations": {"org.opencontainers.image.ref.name": tag}})
        index = {"schemaVersion": 2, "mediaType": f"{MEDIA_TYPE}.index.v1+json", "manifests": self.manifests}
        (self.directory / "index.json").write_bytes(_json(index))
        return str(descriptor["digest"])


def host_platform() -> dict[str, str]:
    """The platform of this machine in the words of an image's config."""
    machine = os.uname().machine
    return {"architecture": {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine), "os": "linux"}


def tar_of(entries: Iterable[tarfile.TarInfo | tuple[tarfile.TarInfo, bytes]]) -> bytes:
    """An uncompressed archive of ``entries`` in their order."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for entry in entries:
            info, data = entry if isinstance(entry, tuple) else (entry, b"")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data) if data else None)
    return buffer.getvalue()


def directory(path: str, mode: int = 0o755, uid: int = 0, gid: int = 0) -> tarfile.TarInfo:
    """A directory entry."""
    info = tarfile.TarInfo(path)
    info.type, info.mode, info.uid, info.gid = tarfile.DIRTYPE, mode, uid, gid
    return info


def file(path: str, data: bytes, mode: int = 0o644, uid: int = 0, gid: int = 0) -> tuple[tarfile.TarInfo, bytes]:
    """A regular file entry with its data."""
    info = tarfile.TarInfo(path)
    info.mode, info.uid, info.gid = mode, uid, gid
    return info, data


def symlink(path: str, target: str) -> tarfile.TarInfo:
    """A symbolic link entry."""
    info = tarfile.TarInfo(path)
    info.type, info.linkname, info.mode = tarfile.SYMTYPE, target, 0o777
    return info


def busybox_tar() -> bytes:
    """A root file system of one static busybox, its applets, two users and a file of each."""
    path = busybox_path()
    if path is None:
        raise FileNotFoundError("no static busybox")
    applets = subprocess.run([path, "--list"], capture_output=True, text=True, check=True).stdout.split()
    passwd = b"root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:a user:/home/user:/bin/sh\n"
    group = b"root:x:0:\nuser:x:1000:\nextra:x:2000:user\n"
    return tar_of(
        [
            *(directory(name) for name in ("bin", "etc", "dev", "proc", "sys", "run", "usr", "usr/bin", "var", "home")),
            directory("tmp", 0o1777),
            directory("root", 0o700),
            directory("home/user", 0o750, 1000, 1000),
            file("home/user/file", b"user's\n", 0o640, 1000, 1000),
            file("etc/passwd", passwd),
            file("etc/group", group),
            file("etc/os-release", b'ID=busybox\nPRETTY_NAME="busybox"\n'),
            file("bin/busybox", Path(path).read_bytes(), 0o755),
            *(symlink(f"bin/{applet}", "busybox") for applet in applets if applet != "busybox"),
        ]
    )


def busybox_layout(target: Path, tag: str = "latest") -> Path:
    """Write an OCI image layout of two layers around busybox; its directory."""
    layout = Layout(target)
    second = tar_of([directory("srv"), file("srv/second-layer", b"second\n")])
    layers = [layout.add_layer(busybox_tar()), layout.add_layer(second)]
    layout.add_image(tag, layers, {"Cmd": ["sh"], "Labels": {"maker": "tests"}})
    return target


def cache() -> Path:
    """Where trees that take long to make are kept between runs."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rootless-tests"
    base.mkdir(parents=True, exist_ok=True)
    return base


def debian_layout(name: str, *, include: Sequence[str] = (), splits: Sequence[Sequence[str]] = ((".",),)) -> Path:
    """An OCI image layout of a Debian made by debootstrap in a user namespace; made once, then cached.

    ``include`` are further packages. ``splits`` are the paths that go into each layer; the last layer takes what is
    left (``.``). Raises CalledProcessError where no mirror is reached or the helpers are missing.
    """
    target = cache() / name
    if (target / "index.json").exists():
        return target
    work = cache() / f"{name}.tmp"
    remove_tree(work)
    work.mkdir()
    root = work / "root"
    command = [*IN_USERNS, "debootstrap", "--variant=minbase", *([f"--include={','.join(include)}"] if include else [])]
    # "lxc" is how debootstrap is told that it cannot make device nodes.
    environment = {**os.environ, "container": "lxc", "PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin"}
    subprocess.run([*command, "stable", str(root)], env=environment, check=True, capture_output=True, timeout=900)
    shutil.rmtree(root / "var/cache/apt", ignore_errors=True)
    layout = Layout(work / "layout")
    layers = []
    done: list[str] = ["./dev/*", "./proc/*", "./sys/*", "./var/cache/apt/*"]
    for number, paths in enumerate(splits):
        tar = work / f"{number}.tar"
        exclude = [f"--exclude={path}" for path in done]
        packing = ["tar", "-C", str(root), "--numeric-owner", "--sort=name", "--anchored", *exclude, "-cf", str(tar)]
        subprocess.run([*IN_USERNS, *packing, *(f"./{path}" if path != "." else "." for path in paths)], check=True)
        done += [f"./{path}" for path in paths]
        layers.append(layout.add_layer_file(tar))
    layout.add_image("latest", layers, {"Cmd": ["bash"]})
    remove_tree(target)
    (work / "layout").rename(target)
    remove_tree(work)
    return target


def remove_tree(path: Path) -> None:
    """Delete a tree, also one whose files belong to subordinate ids."""
    if not path.exists():
        return
    shutil.rmtree(path, ignore_errors=True)
    if path.exists():
        subprocess.run([*IN_USERNS, "rm", "-rf", "--one-file-system", str(path)], check=False)


def _json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()
