"""What a storage driver is, and the value it returns. A driver never mounts: the runtime does, from this value."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Literal, NotRequired, Protocol, TypedDict

    class IdMap(Protocol):
        """The part of the engine's id map that storage reads: ``(inside, outside, length)`` with host ids outside."""

        uids: list[tuple[int, int, int]]
        gids: list[tuple[int, int, int]]

        def key(self) -> str:
            """Short stable text that is fit for a file name; empty for the user's default map."""

    class ToplevelEntry(TypedDict):
        """One name of the host's root directory in a ``toplevel-overlay``."""

        name: str
        kind: Literal["dir", "symlink", "skip"]
        target: str  # what a symlink points to; empty otherwise
        lower: str  # absolute host directory below an overlay; empty otherwise
        upper: str
        work: str

    class RootfsMount(TypedDict):
        """How to make a container's root file system. All paths are absolute.

        ``overlay`` and ``fuse-overlayfs``: mount ``lower`` (topmost first) with ``upper``, ``work`` and ``options``
        on ``merged``; with ``readonly`` and an empty ``upper`` there are only lower directories.
        ``directory``: ``merged`` is the root file system as it is.
        ``toplevel-overlay``: ``merged`` gets a tmpfs, and each of ``entries`` becomes a directory with its own
        overlay, a symlink, or nothing (its place is taken by a mount of the Spec).
        """

        kind: Literal["overlay", "fuse-overlayfs", "directory", "toplevel-overlay"]
        lower: list[str]
        lower_links: list[str]  # the same directories as names inside ``links``; empty where there are none
        links: str  # directory to mount from where mount(2) needs short relative names
        upper: str
        work: str
        merged: str
        options: list[str]
        readonly: bool
        helper: NotRequired[str]  # absolute path of fuse-overlayfs
        entries: NotRequired[list[ToplevelEntry]]

    InUserns = Callable[[Callable[[], bytes]], bytes]
    """Runs a function as root of a user namespace with the user's whole id range, in a child; returns its bytes."""

    class Driver(Protocol):
        """Turns unpacked layers and a container's directory into a root file system."""

        name: str
        why: str  # one line: why this driver was chosen
        maps_ids: bool  # serves another id map from the default layers; else the engine asks for remapped layers

        def prepare(
            self,
            container_dir: str,
            layer_dirs: Sequence[str],
            *,
            readonly: bool = False,
            ephemeral: bool = False,
            stored: IdMap | None = None,
            wanted: IdMap | None = None,
        ) -> RootfsMount:
            """Make what the container needs below ``container_dir`` and describe the mount.

            ``layer_dirs`` are ``layers/KEY/diff`` directories, base layer first. ``ephemeral``: the changes need not
            survive a power cut (``--rm``). ``stored`` is the map that the layers were unpacked with and ``wanted`` the
            container's; both None where they are the same. Idempotent: a second call returns the same value.
            Raises StorageError.
            """
