"""Image lists: OCI indexes that have a name in the store, and grow entry by entry (image-index.md).

A list has an entry in ``index.json`` for each of its names, as an image has, whose media type is that of an index. Its
document is a blob, which is written anew at each change; the id, by which scripts call a list while they fill it,
stays. What the list names is kept for as long as the list is there, so far as it is in the store: the rest is at a
registry, and an annotation of the entry says where.
"""

from __future__ import annotations

import os

from storage import jsonfast, locks, oci, reference, reserve
from storage.errors import DamagedError, NotFoundError, StorageError, shown
from storage.images import ID_LENGTH, is_hex, is_id, named
from storage.index import LIST_ID, Described, annotation_of, identity_of, name_of, with_names, without_names
from storage.locks import Lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from storage.images import Images
    from storage.layout import Layout
    from storage.oci import Descriptor, Index, Manifest

    Lists = list["ImageList"]
    Texts = list[str]
    Change = Callable[[Index], Index]

LIST_CREATED = "rootless.list.created"
"""Annotation of a list's entry in the index: when it was made, as RFC 3339 text."""
LIST_SOURCE = "rootless.list.source."
"""With a digest behind it, the annotation that says at which registry's reference the list's entry is to be had."""


class ImageList(Described):
    """One list. Its document is read and checked when it is first asked for."""

    __slots__ = ("_document", "_lists", "_names")

    def __init__(self, lists: ImageLists, descriptor: Descriptor, names: list[str]) -> None:
        super().__init__(descriptor)
        self._lists = lists
        self._names = names
        self._document: Index | None = None

    def __repr__(self) -> str:
        return f"ImageList({self.id!r})"

    @property
    def id(self) -> str:
        """64 hex digits, given when the list was made; of an index that another tool wrote, those of its digest."""
        return annotation_of(self.descriptor, LIST_ID) or oci.Digest(self.digest).encoded

    @property
    def names(self) -> list[str]:
        """Every full reference that names the list, in the order in which they were given."""
        return self._names

    @property
    def created(self) -> str:
        """When the list was made, as RFC 3339 text; empty if that is not known."""
        return self.annotations.get(LIST_CREATED, "")

    @property
    def config(self) -> dict[str, Any]:
        """What filters ask an image's configuration for: a list has none of it."""
        return {"config": {}, "created": self.created}

    @property
    def size(self) -> int:
        """Bytes of the document."""
        return self.descriptor["size"]

    @property
    def document(self) -> Index:
        """The checked index. Raises ``DamagedError``."""
        if self._document is None:
            self._document = self._lists.read(self)
        return self._document

    @property
    def entries(self) -> list[Descriptor]:
        """The list's own entries, one a platform."""
        return self.document["manifests"]

    def source(self, digest: str) -> str:
        """The reference without tag at whose registry the manifest ``digest`` is to be had; empty: none is known."""
        return self.annotations.get(LIST_SOURCE + digest, "")


class ImageLists:
    """The image lists of one store."""

    __slots__ = ("_images", "_layout")

    def __init__(self, images: Images, layout: Layout) -> None:
        self._images = images
        self._layout = layout

    # Reading

    def list(self) -> Lists:
        """Every list once, in the order of the index. Raises ``DamagedError`` if the index cannot be read."""
        found: dict[str, ImageList] = {}
        for entry in self._images.index.entries():
            if entry["mediaType"] in oci.INDEX_TYPES:
                name = name_of(entry)
                known = found.setdefault(identity_of(entry), ImageList(self, entry, []))
                known.names.extend([name] if name else [])
        return [*found.values()]

    def find(self, name: str) -> ImageList | None:
        """Return the list that a user means by ``name``, looked up as ``Images.find`` does, or None.

        Raises ``StorageError`` if ``name`` fits several lists, or is neither a reference nor an id.
        """
        known = self.list()
        identifier = name.removeprefix("sha256:")
        if is_id(identifier):
            return next((each for each in known if each.id == identifier), None)
        try:
            found = named(known, name, reference.parse(name))
        except reference.InvalidReferenceError:
            if not is_hex(identifier):
                raise
            found = []
        if not found and is_hex(identifier):
            found = [each for each in known if each.id.startswith(identifier)]
        return _only(found, name)

    def read(self, found: ImageList) -> Index:
        """The checked document of a list. Raises ``DamagedError``."""
        document = self._images.blobs.read_document(found.digest)
        try:
            return oci.check_index(document, found.media_type)
        except oci.InvalidDocumentError as error:
            name = found.names[0] if found.names else found.digest
            raise DamagedError(f"cannot use the image list {name}: {error.message}") from None

    def needed(self) -> Iterator[str]:
        """Digests of all blobs that lists need: documents, and of their images what there is in the store."""
        for each in self.list():
            yield each.digest
            for entry in each.entries:
                yield entry["digest"]
                manifest = self._any_manifest(entry)
                if manifest is not None:
                    yield manifest["config"]["digest"]
                    yield from (layer["digest"] for layer in manifest["layers"])

    def manifest(self, entry: Descriptor) -> Manifest | None:
        """The manifest that an entry of a list means, if it is that of an image and in the store."""
        document = self._document(entry)
        try:
            return oci.check_manifest(document, entry["mediaType"]) if document is not None else None
        except oci.InvalidDocumentError:
            return None  # of something else than an image

    def artifact(self, entry: Descriptor) -> Manifest | None:
        """The same for an entry that is an artifact, and no image."""
        return self._any_manifest(entry) if self.manifest(entry) is None else None

    def _any_manifest(self, entry: Descriptor) -> Manifest | None:
        from storage.artifacts import check_artifact

        document = self._document(entry)
        return check_artifact(document, entry["mediaType"]) if document is not None else None

    def _document(self, entry: Descriptor) -> object | None:
        """The value of the blob of a manifest; None if it is none, or not in the store."""
        if entry["mediaType"] not in oci.MANIFEST_TYPES or not self._images.blobs.has(entry["digest"], entry["size"]):
            return None
        return self._images.blobs.read_document(entry["digest"])

    # Writing

    def create(self, document: Index, names: Texts, created: str, sources: dict[str, str]) -> ImageList:
        """Make a list with ``names``, which move here; ``sources`` as for ``change``. Raises ``StorageError``."""
        annotations = {LIST_ID: os.urandom(ID_LENGTH // 2).hex(), LIST_CREATED: created, **_annotations(sources)}
        with locks.shared(self._layout.content_lock):
            descriptor = self._put(document, oci.INDEX, annotations)
            with Lock(self._layout.images_lock):
                entries = without_names(self._images.index.raw_entries(), names)
                self._images.index.replace(with_names(entries, descriptor, names))
        return ImageList(self, descriptor, names)

    def change(self, found: ImageList, change: Change, sources: dict[str, str] | None = None) -> ImageList:
        """Write what ``change`` makes of the list's document as it is now; return the list as it is then.

        No other change comes in between, so several processes may fill one list. ``sources``: {digest: reference} of
        entries that are not in the store. Raises ``NotFoundError`` if the list was removed meanwhile.
        """
        with locks.shared(self._layout.content_lock), Lock(self._layout.images_lock):
            entries = self._images.index.raw_entries()
            identity = identity_of(found.descriptor)
            mine = [entry for entry in entries if identity_of(entry) == identity]
            if not mine:
                raise NotFoundError(f"cannot change the image list {found.id[:12]}: it was removed")
            current = ImageList(self, oci.check_descriptor(mine[0]), [name for e in mine if (name := name_of(e))])
            document = change(current.document)
            kept = {entry["digest"] for entry in document["manifests"]}
            annotations = {key: value for key, value in {**current.annotations, **_annotations(sources or {})}.items()
                           if not key.startswith(LIST_SOURCE) or key.removeprefix(LIST_SOURCE) in kept}
            annotations[LIST_ID] = current.id
            annotations.pop(oci.REF_NAME, None)
            descriptor = self._put(document, current.media_type, annotations)
            others = [entry for entry in entries if entry not in mine]
            self._images.index.replace(with_names(others, descriptor, current.names))
        return ImageList(self, descriptor, current.names)

    def tag(self, found: ImageList, name: str) -> None:
        """Give the list one name more, taking it from what has it. Raises ``NotFoundError``, ``StorageError``."""
        if str(reference.parse(name)) != name:
            raise StorageError(f"cannot name an image list {shown(name)}: it is not a full reference")
        with Lock(self._layout.images_lock):
            entries = self._images.index.raw_entries()
            identity = identity_of(found.descriptor)
            current = next((entry for entry in entries if identity_of(entry) == identity), None)
            if current is None:
                raise NotFoundError(f"cannot tag {found.id[:12]}: the image list was removed")
            self._images.index.replace(with_names(without_names(entries, [name]), current, [name]))

    def remove(self, found: ImageList) -> Texts:
        """Take the list with all its names out of the index; return the names.

        Blobs that nothing needs any longer are deleted by ``storage.gc.collect`` afterwards.
        """
        with Lock(self._layout.images_lock):
            entries = self._images.index.raw_entries()
            identity = identity_of(found.descriptor)
            gone = [entry for entry in entries if identity_of(entry) == identity]
            kept = [entry for entry in entries if entry not in gone]
            reserve.deleting(self._layout, lambda: self._images.index.replace(kept), "cannot write the image index")
        return [name for entry in gone if (name := name_of(entry))]

    def _put(self, document: Index, media_type: str, annotations: dict[str, str]) -> Descriptor:
        data = jsonfast.dumps({**document, "schemaVersion": 2, "mediaType": media_type}).encode("ascii")
        if len(data) > oci.MAX_DOCUMENT:
            raise StorageError(f"cannot write an image list of {len(data)} bytes: the limit is {oci.MAX_DOCUMENT}")
        return {**self._images.blobs.put(data, media_type), "annotations": annotations}


def _annotations(sources: dict[str, str]) -> dict[str, str]:
    return {LIST_SOURCE + oci.Digest(digest): name for digest, name in sources.items()}


def _only(found: Lists, name: str) -> ImageList | None:
    if len(found) > 1:
        raise StorageError(f"cannot tell which image list {shown(name)} is: it fits several", "give its full name")
    return found[0] if found else None
