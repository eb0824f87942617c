"""``index.json`` of the image layout: which manifests there are and what they are called (image-layout.md).

This program writes one entry a line, so that a name is found by a search in the bytes and only its line is parsed: a
``run`` in a store of 500 images costs what it costs in an empty one. An index that another tool wrote is parsed whole.
"""

from __future__ import annotations

import os

from storage import atomic, jsonfast, oci
from storage.errors import DamagedError, StorageError, os_error
from storage.oci import REF_NAME

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from storage.layout import Layout
    from storage.oci import Descriptor

LIST_ID = "rootless.list.id"
"""Annotation of the entry of an image list: its id, which stays while its digest changes."""

_HEAD = b'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[\n'
_MAX_BYTES = 64 << 20


def encode(entries: list[Any]) -> bytes:
    """Return the bytes of an index with ``entries``."""
    return jsonfast.seal(_HEAD + b",\n".join(jsonfast.dumps(entry).encode("ascii") for entry in entries) + b"\n]}")


class Described:
    """What an entry of an index names; ``descriptor`` is one of its entries."""

    __slots__ = ("descriptor",)

    def __init__(self, descriptor: Descriptor) -> None:
        self.descriptor = descriptor

    @property
    def digest(self) -> str:
        """Digest of the document, as it is now."""
        return self.descriptor["digest"]

    @property
    def media_type(self) -> str:
        """Media type of the document."""
        return self.descriptor["mediaType"]

    @property
    def annotations(self) -> dict[str, str]:
        """Annotations of the entry (those of the document are in it)."""
        return self.descriptor.get("annotations", {})


class IndexFile:
    """The index of one store, read when it is first needed and again when it was replaced."""

    __slots__ = ("_copy", "_data", "_entries", "_path", "_stamp", "damaged")

    def __init__(self, layout: Layout, path: str = "", copy: str = "") -> None:
        """That of the images, or the one at ``path``, with its ``copy``."""
        self._path = path or layout.index
        self._copy = copy or layout.index_copy
        self._stamp: tuple[int, int, int] | None = None
        self._data = b""
        self._entries: list[Descriptor] | None = None
        self.damaged: list[tuple[str, str]] = []
        """What ``entries`` left out: where in the index, and what is wrong there."""

    def _read(self) -> bytes:
        """The bytes of the index. It is replaced, never changed: the same inode, time and size are the same bytes."""
        try:
            status = os.stat(self._path)
            stamp = (status.st_ino, status.st_mtime_ns, status.st_size)
            if stamp == self._stamp:
                return self._data
            if status.st_size > _MAX_BYTES:
                raise DamagedError(f"cannot read {self._path}: it is too large", self._path)
            data = atomic.read(self._path, _MAX_BYTES)
        except FileNotFoundError:
            raise DamagedError("cannot read the image index: it is missing", self._path) from None
        except OSError as error:
            raise os_error("cannot read the image index", error) from error
        self._data = data
        self._entries = None
        self._stamp = stamp  # of before: if it was replaced in between, it is read once more
        return data

    def find(self, annotation: str, value: str) -> Descriptor | None:
        """Return an entry whose ``annotation`` is ``value``, or None; the rest of the index is not parsed."""
        for entry in self._holding(jsonfast.dumps({annotation: value})[1:-1]):
            if entry.get("annotations", {}).get(annotation) == value:
                return entry
        return None

    def with_digest(self, digest: str) -> list[Descriptor]:
        """Return the entries of the manifest ``digest``, one for each of its names; the rest is not parsed."""
        return [entry for entry in self._holding(digest) if entry["digest"] == digest]

    def _holding(self, text: str) -> list[Descriptor]:
        """Return at least the entries whose line in the file holds ``text``, which no writer of ours breaks up."""
        data = self._read()
        if self._entries is not None or not data.startswith(_HEAD):
            return self.entries()
        needle = text.encode("ascii")
        found = []
        at = data.find(needle, len(_HEAD))
        while at >= 0:
            end = data.find(b"\n", at)
            line = data[data.rfind(b"\n", 0, at) + 1:end if end >= 0 else len(data)]
            try:
                found.append(oci.check_descriptor(jsonfast.loads(line.rstrip(b","))))
            except StorageError:
                return self.entries()
            at = data.find(needle, end) if end >= 0 else -1
        return found

    def entries(self) -> list[Descriptor]:
        """Return all entries that are descriptors of a manifest; what others there are is put down in ``damaged``.

        Raises ``DamagedError`` if the file is not an index at all.
        """
        data = self._read()
        if self._entries is None:
            self._entries, self.damaged = parse(data, self._path)
        return self._entries

    def raw_entries(self) -> list[Any]:
        """Return all entries as they are on disk now, damaged ones too, for a writer that must not lose them."""
        self._stamp = None
        document = _document(self._read(), self._path)
        return list(document["manifests"])

    def replace(self, entries: list[Any]) -> None:
        """Write the index anew, and a copy from which it can be repaired. The caller holds the images lock."""
        data = encode(entries)
        atomic.write(self._path, data)
        self._stamp = None
        try:
            atomic.write(self._copy, data)
        except StorageError:
            pass  # an older copy is as good as one can have on a full disk


def _document(data: bytes, path: str) -> dict[str, Any]:
    try:
        document = jsonfast.loads(data)
    except jsonfast.JSONError as error:
        raise DamagedError(f"the image index is damaged: {error.message}", path) from None
    if not isinstance(document, dict) or not isinstance(document.get("manifests"), list):
        raise DamagedError("the image index is damaged: it is not an object with manifests", path)
    return document


def parse(data: bytes, path: str) -> tuple[list[Descriptor], list[tuple[str, str]]]:
    """Return the good entries of an index, and where there are bad ones and why. Raises ``DamagedError``."""
    good: list[Descriptor] = []
    bad: list[tuple[str, str]] = []
    for number, entry in enumerate(_document(data, path)["manifests"]):
        try:
            good.append(oci.check_descriptor(entry, f"entry {number}"))
        except StorageError as error:
            bad.append((_label(entry, number), error.message))
    return good, bad


def _label(entry: object, number: int) -> str:
    """What to call a damaged entry: its name if that can still be read."""
    name = name_of(entry)
    return name if name and name.isprintable() else f"entry {number}"


# list[Any] as they are on disk: a damaged one is of any type, and is kept until `system check` removes it.


def digest_of(entry: Any) -> str:
    """The digest of an entry; empty: it has none."""
    digest = entry.get("digest") if isinstance(entry, dict) else None
    return digest if isinstance(digest, str) else ""


def annotation_of(entry: Any, key: str) -> str:
    """An annotation of an entry; empty: it has not got it."""
    annotations = entry.get("annotations") if isinstance(entry, dict) else None
    value = annotations.get(key) if isinstance(annotations, dict) else None
    return value if isinstance(value, str) else ""


def name_of(entry: Any) -> str:
    """The name that an entry gives its manifest; empty: none."""
    return annotation_of(entry, REF_NAME)


def identity_of(entry: Any) -> str:
    """What tells whether two entries are names of one thing: the digest, and for an image list its id."""
    return annotation_of(entry, LIST_ID) or digest_of(entry)


def _nameless(entry: Any) -> Any:
    return {**entry, "annotations": {key: value for key, value in entry["annotations"].items() if key != REF_NAME}}


def without_names(entries: list[Any], names: list[str]) -> list[Any]:
    """Take ``names`` away; an image whose last name that was keeps one entry without a name."""
    kept = [entry for entry in entries if name_of(entry) not in names or not name_of(entry)]
    known = {identity_of(entry) for entry in kept}
    for entry in entries:
        if identity_of(entry) not in known:
            known.add(identity_of(entry))
            kept.append(_nameless(entry))
    return kept


def with_names(entries: list[Any], descriptor: Descriptor, names: list[str]) -> list[Any]:
    """Add an entry for every name; the nameless entry that the image may have had is then no longer needed."""
    identity = identity_of(descriptor)
    plain: Any = {**descriptor, "annotations": {
        key: value for key, value in descriptor.get("annotations", {}).items() if key != REF_NAME}}
    if names:
        entries = [entry for entry in entries if identity_of(entry) != identity or name_of(entry)]
        named = [{**plain, "annotations": {REF_NAME: name, **plain["annotations"]}} for name in names]
        return entries + named
    if any(identity_of(entry) == identity for entry in entries):
        return entries
    return [*entries, plain]
