"""The store of one user: its directories are made and checked here, and its parts are found from here."""

from __future__ import annotations

import os

from storage import atomic, reserve
from storage.errors import DamagedError, StorageError, os_error, shown
from storage.layout import Layout, names_in

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storage.artifacts import Artifacts
    from storage.blobs import Blobs
    from storage.build_cache import BuildCache
    from storage.containers import Containers
    from storage.image_lists import ImageLists
    from storage.images import Images
    from storage.layers import Layers
    from storage.volumes import Volumes

FORMAT_VERSION = 1
"""Raised when a program of this version could not use a store of the next one."""

OCI_LAYOUT = b'{"imageLayoutVersion":"1.0.0"}\n'


def private_directory(path: str, *, follow: bool = False) -> None:
    """Make ``path`` a directory of ours that nobody else may enter.

    One that exists must be ours, no link (unless ``follow``) and not writable by others, who could have filled it.
    """
    try:
        try:
            status = os.stat(path, follow_symlinks=follow)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
            try:
                os.mkdir(path, 0o700)
            except FileExistsError:
                pass  # by another process: to be checked like any other
            status = os.stat(path, follow_symlinks=follow)
        if status.st_mode & 0o170000 != 0o040000:
            raise StorageError(f"cannot use {path}: it is not a directory")
        if status.st_uid != os.geteuid():
            raise StorageError(
                f"cannot use {path}: it belongs to uid {status.st_uid}", "choose another with --root and --runroot")
        if status.st_mode & 0o022:
            raise StorageError(f"cannot use {path}: others can write to it", f"chmod 700 {path}")
        if status.st_mode & 0o077:
            os.chmod(path, 0o700)
    except OSError as error:
        failure = os_error(f"cannot use the directory {path}", error)
        failure.hint = failure.hint or "choose another with --root and --runroot, or set XDG_DATA_HOME"
        raise failure from error


def _read_version(layout: Layout) -> int | None:
    """The format version of the store; None if there is no store yet."""
    try:
        fd = os.open(layout.format_version, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise os_error(f"cannot open the store {layout.data}", error) from error
    try:
        text = os.read(fd, 64).decode("ascii", "replace").strip()
    finally:
        os.close(fd)
    if not text.isdecimal():
        damaged = DamagedError(f"cannot read {layout.format_version}: it holds {shown(text)}", layout.format_version)
        damaged.hint = f"if no newer program has used this store: echo {FORMAT_VERSION} > {layout.format_version}"
        raise damaged
    return int(text)


def _make(layout: Layout) -> None:
    """Fill an empty data directory; FORMAT_VERSION, written last, makes it a store. Harmless if done twice.

    A store that has lost that file gets it again.
    """
    known = {os.path.basename(path) for path in layout.directories()} | {
        os.path.basename(path) for path in (
            layout.reserve, layout.spare, layout.images_lock, layout.content_lock, layout.index_copy,
            layout.events, f"{layout.events}.1", layout.artifacts, layout.artifacts_copy, layout.image_copies,
            layout.build_cache, layout.caches)}
    strangers = sorted(set(names_in(layout.data)) - known)
    strangers = [name for name in strangers if not name.startswith(atomic.TEMP_PREFIX)]
    if strangers:
        raise StorageError(
            f"cannot make a store in {layout.data}: it holds other files, for example {shown(strangers[0])}",
            "choose an empty directory with --root")
    for path in layout.directories():
        private_directory(path)
    from storage.locks import Lock

    with Lock(layout.images_lock):
        if not os.path.lexists(layout.index):
            from storage.index import encode

            atomic.write(layout.oci_layout, OCI_LAYOUT)
            atomic.write(layout.index_copy, encode([]))
            atomic.write(layout.index, encode([]))
    reserve.fill(layout)
    atomic.write(layout.format_version, f"{FORMAT_VERSION}\n".encode())


class Store:
    """One user's images, containers and volumes. Made by ``Store.open``.

    ``caller_umask`` is the umask that the process had; in force is 077.
    """

    __slots__ = (
        "_artifacts", "_blobs", "_build_cache", "_containers", "_images", "_layers", "_lists", "_volumes",
        "caller_umask", "layout",
    )

    def __init__(self, layout: Layout, caller_umask: int = 0o077) -> None:
        self.layout = layout
        self.caller_umask = caller_umask
        self._blobs: Blobs | None = None
        self._build_cache: BuildCache | None = None
        self._images: Images | None = None
        self._layers: Layers | None = None
        self._lists: ImageLists | None = None
        self._artifacts: Artifacts | None = None
        self._containers: Containers | None = None
        self._volumes: Volumes | None = None

    @classmethod
    def open(cls, data: str, run: str, map_key: str = "") -> Store:
        """Open the store below the absolute paths ``data`` and ``run``; make what is missing, with mode 0700.

        ``map_key``: of the id map with which layers are unpacked, see ``Layout``.

        Sets the umask of the process to 077. Raises ``StorageError``: a directory is not private, or the store was
        written by a newer program.
        """
        if not data.startswith("/") or not run.startswith("/"):
            raise StorageError(f"cannot open the store {shown(data)}: paths of a store must be absolute")
        layout = Layout(data.rstrip("/"), run.rstrip("/"), map_key)
        umask = os.umask(0o077)
        private_directory(layout.data, follow=True)
        version = _read_version(layout)
        if version is None:
            _make(layout)
        elif version > FORMAT_VERSION:
            raise StorageError(
                f"cannot use the store {layout.data}: it has format {version}, and this program knows {FORMAT_VERSION}",
                "use the newer program that made it, or another store with --root")
        elif version < 1:
            raise DamagedError(f"cannot use the store {layout.data}: it has format {version}", layout.format_version)
        private_directory(layout.run)
        for path in layout.run_directories():
            try:
                os.mkdir(path, 0o700)
            except FileExistsError:
                pass
            except OSError as error:
                raise os_error(f"cannot make the directory {path}", error) from error
        return cls(layout, umask)

    @property
    def blobs(self) -> Blobs:
        """The content of images by digest."""
        if self._blobs is None:
            from storage.blobs import Blobs

            self._blobs = Blobs(self.layout)
        return self._blobs

    @property
    def build_cache(self) -> BuildCache:
        """What the steps of builds made."""
        if self._build_cache is None:
            from storage.build_cache import BuildCache

            self._build_cache = BuildCache(self.layout)
        return self._build_cache

    @property
    def images(self) -> Images:
        """Images and their names."""
        if self._images is None:
            from storage.images import Images

            self._images = Images(self.layout)
        return self._images

    @property
    def lists(self) -> ImageLists:
        """Image lists and their names."""
        if self._lists is None:
            from storage.image_lists import ImageLists

            self._lists = ImageLists(self.images, self.layout)
        return self._lists

    @property
    def artifacts(self) -> Artifacts:
        """Artifacts and their names."""
        if self._artifacts is None:
            from storage.artifacts import Artifacts

            self._artifacts = Artifacts(self.blobs, self.layout)
        return self._artifacts

    @property
    def layers(self) -> Layers:
        """Unpacked layers."""
        if self._layers is None:
            from storage.layers import Layers

            self._layers = Layers(self.layout)
        return self._layers

    @property
    def containers(self) -> Containers:
        """Containers and their names."""
        if self._containers is None:
            from storage.containers import Containers

            self._containers = Containers(self.layout)
        return self._containers

    @property
    def volumes(self) -> Volumes:
        """Volumes."""
        if self._volumes is None:
            from storage.volumes import Volumes

            self._volumes = Volumes(self.layout)
        return self._volumes
