"""What the steps of builds made: a sealed record for each, under the digest of all that the step depends on.

A record is found only under its key, and believed only if it is whole and of the right shape: any other is as good as
none. It keeps its own layer and blob from being collected; what is below has records, or images, of its own.
"""

from __future__ import annotations

import os

from storage import atomic, jsonfast, oci
from storage.errors import StorageError, os_error
from storage.oci import is_digest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from storage.layout import Layout
    from storage.oci import Descriptor

KEY_LENGTH = 64
_LIMIT = 1 << 20
_HEX = "0123456789abcdef"


class Record:
    """``below``: DiffIDs of the layers that the step was given. ``layer`` and ``diff_id``: those of the layer that it
    made (None and '': it made none). ``history``: its entry in the image's history. ``made``: when, in seconds since
    the epoch."""

    __slots__ = ("below", "diff_id", "history", "layer", "made")

    def __init__(
        self, below: list[str], layer: Descriptor | None, diff_id: str, history: Mapping[str, Any], made: int
    ) -> None:
        self.below = below
        self.layer = layer
        self.diff_id = diff_id
        self.history = history
        self.made = made

    def chain(self) -> list[str]:
        """DiffIDs of the layers after the step, base first."""
        return [*self.below, self.diff_id] if self.diff_id else self.below


class BuildCache:
    """The records of one store."""

    __slots__ = ("_directory",)

    def __init__(self, layout: Layout) -> None:
        self._directory = layout.build_cache

    def _path(self, key: str) -> str:
        if len(key) != KEY_LENGTH or key.strip(_HEX):
            raise ValueError(f"{key!r} is not a key")
        return f"{self._directory}/{key}"

    def get(self, key: str) -> Record | None:
        """The record of ``key``; None if there is none that can be believed."""
        try:
            data = atomic.read(self._path(key), _LIMIT)
        except OSError:
            return None
        if len(data) > _LIMIT or jsonfast.CHECKSUM.encode() not in data[-30:] or not jsonfast.is_intact(data):
            return None
        try:
            return _record(jsonfast.loads_strict(data))
        except StorageError:
            return None

    def put(self, key: str, record: Record) -> None:
        """Store what a step made. Its layer must be in the store. Raises StorageError."""
        document: dict[str, Any] = {"below": record.below, "history": dict(record.history), "made": record.made}
        if record.layer is not None:
            document["layer"] = record.layer
            document["diff_id"] = record.diff_id
        data = jsonfast.seal(jsonfast.dump_bytes(document))
        try:
            atomic.write(self._path(key), data, durable=False)
        except StorageError:
            if os.path.isdir(self._directory):
                raise
            try:
                os.mkdir(self._directory, 0o700)
            except FileExistsError:
                pass  # another build was first
            except OSError as error:
                raise os_error(f"cannot make the directory {self._directory}", error) from error
            atomic.write(self._path(key), data, durable=False)

    def records(self) -> Iterator[tuple[str, Record | None]]:
        """Every key with its record, or None where that cannot be believed."""
        for key in self._names():
            if len(key) == KEY_LENGTH and not key.strip(_HEX):
                yield key, self.get(key)

    def remove(self, key: str) -> None:
        """Forget a step. Raises StorageError."""
        try:
            os.unlink(self._path(key))
        except FileNotFoundError:
            pass
        except OSError as error:
            raise os_error("cannot change the build cache", error) from error

    def needed(self) -> tuple[set[str], set[str]]:
        """Digests of the blobs and DiffIDs of the layers that the records keep."""
        digests: set[str] = set()
        diff_ids: set[str] = set()
        for _, record in self.records():
            if record is not None and record.layer is not None:
                digests.add(record.layer["digest"])
                diff_ids.add(record.diff_id)
        return digests, diff_ids

    def _names(self) -> list[str]:
        try:
            return os.listdir(self._directory)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise os_error("cannot read the build cache", error) from error


def _record(document: object) -> Record:
    """The record that a document is. Raises StorageError if it is none."""
    if not isinstance(document, dict):
        raise StorageError("not a record")
    below, made, layer, diff_id = (document.get(key) for key in ("below", "made", "layer", "diff_id"))
    if not isinstance(below, list) or not all(map(is_digest, below)) or type(made) is not int:
        raise StorageError("not a record")
    if (layer is None) != (diff_id is None) or not (diff_id is None or is_digest(diff_id)):
        raise StorageError("not a record")
    found = None if layer is None else oci.check_descriptor(layer)
    if found is not None and found["mediaType"] not in oci.LAYER_TYPES:
        raise StorageError("not a record")
    history = oci.check_history([document.get("history")], "history")[0]
    return Record(below, found, diff_id or "", history, made)
