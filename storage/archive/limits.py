"""How much one archive may ask for. An archive is hostile input: each bound ends the work early and cheaply."""

from __future__ import annotations


class Limits:
    """Bounds of one archive; passing one is a StorageError and the partial layer is removed."""

    __slots__ = ("bytes", "depth", "directories", "entries", "header_bytes", "path_bytes", "sparse_segments", "steps")

    def __init__(
        self,
        *,
        bytes: int = 100 << 30,  # of the uncompressed stream, padding and trailing data included
        entries: int = 1_000_000,
        directories: int = 400_000,  # each costs memory until the end, when its times are set
        depth: int = 256,  # a descriptor each while a tree is copied or removed
        path_bytes: int = 4095,  # PATH_MAX without its NUL
        header_bytes: int = 1 << 20,  # one extended header (PAX, GNU long name)
        sparse_segments: int = 100_000,
        steps: int = 10_000_000,  # names looked up one by one, as links need it: a short one may stand for thousands
    ) -> None:
        self.bytes = bytes
        self.entries = entries
        self.directories = directories
        self.depth = depth
        self.path_bytes = path_bytes
        self.header_bytes = header_bytes
        self.sparse_segments = sparse_segments
        self.steps = steps
