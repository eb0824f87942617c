"""Images and their names.

The truth is ``index.json``: an entry for every name, and one without a name for an image that has lost its last. A
start reads it without a lock; writers take the images lock.
"""

from __future__ import annotations

from storage import oci, reference, reserve
from storage.blobs import Blobs
from storage.errors import DamagedError, NotFoundError, StorageError, shown
from storage.index import Described, IndexFile, annotation_of, digest_of, name_of, with_names, without_names
from storage.locks import Lock
from storage.oci import REF_NAME, Digest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from storage.layout import Layout
    from storage.oci import Descriptor, ImageConfig, Manifest

    Damage = list[tuple[str, str]]
    Texts = list[str]
    Entries = list[Any]
    Descriptors = list[Descriptor]
    ImageList = list["Image"]

IMAGE_ID = "rootless.image.id"
"""Annotation of an index entry: hex digest of the image's configuration; saves reading the manifest for the id."""
INDEX_DIGEST = "rootless.index.digest"
"""Annotation of an index entry: digest of the image index out of which the manifest was chosen."""
ID_LENGTH = 64
_HEX = "0123456789abcdef"


class Image(Described):
    """One image of the store. Manifest and configuration are read and checked when they are first asked for."""

    __slots__ = ("_config", "_images", "_manifest", "_names")

    def __init__(self, images: Images, descriptor: Descriptor, names: list[str] | None = None) -> None:
        super().__init__(descriptor)
        self._images = images
        self._names = names
        self._manifest: Manifest | None = None
        self._config: ImageConfig | None = None

    def __repr__(self) -> str:
        return f"Image({self.digest!r})"

    @property
    def names(self) -> list[str]:
        """Every full reference that names the image, in the order in which they were given."""
        if self._names is None:
            self._names = self._images.names_of(self.digest)
        return self._names

    @property
    def id(self) -> str:
        """Hex digest of the configuration."""
        known = self.annotations.get(IMAGE_ID, "")
        return known if is_id(known) else Digest(self.manifest["config"]["digest"]).encoded

    @property
    def manifest(self) -> Manifest:
        """The checked manifest. Raises ``DamagedError``."""
        if self._manifest is None:
            document = self._images.blobs.read_document(self.digest)
            self._manifest = self._checked(oci.check_manifest, document)
        return self._manifest

    @property
    def config(self) -> ImageConfig:
        """The checked configuration. Raises ``DamagedError``."""
        if self._config is None:
            document = self._images.blobs.read_document(self.manifest["config"]["digest"])
            config = self._checked(oci.check_config, document)
            layers, diff_ids = len(self.manifest["layers"]), len(config["rootfs"]["diff_ids"])
            if layers != diff_ids:
                raise self._damaged(f"the manifest has {layers} layers and the configuration {diff_ids}")
            self._config = config
        return self._config

    def _checked(self, check: Callable[[object], Any], document: object) -> Any:
        try:
            return check(document)
        except oci.InvalidDocumentError as error:
            raise self._damaged(error.message) from None

    def _damaged(self, why: str) -> DamagedError:
        return DamagedError(f"cannot use image {name_of(self.descriptor) or self.digest}: {why}")

    @property
    def layers(self) -> list[Descriptor]:
        """Descriptors of the layers, the lowest first."""
        return self.manifest["layers"]

    @property
    def diff_ids(self) -> list[str]:
        """DiffIDs of the layers, the lowest first: digests of the layers' uncompressed archives."""
        diff_ids: list[str] = self.config["rootfs"]["diff_ids"]
        return diff_ids

    @property
    def size(self) -> int:
        """Bytes that the layers take unpacked; those of the compressed blobs for a layer that is not unpacked."""
        return sum(
            self._images.layer_size(diff_id, layer["size"])
            for diff_id, layer in zip(self.diff_ids, self.layers, strict=True))

    @property
    def created(self) -> str:
        """When the image was made, as RFC 3339 text out of the configuration; empty if that does not say."""
        created: str = self.config.get("created", "")
        return created


class Images:
    """The images of one store."""

    __slots__ = ("_layer_sizes", "_layout", "blobs", "index")

    def __init__(self, layout: Layout) -> None:
        self.blobs = Blobs(layout)
        self._layout = layout
        self.index = IndexFile(layout)
        self._layer_sizes: dict[str, int] = {}

    # Reading

    @property
    def damaged(self) -> Damage:
        """Entries that ``list`` left out, as (name, problem)."""
        return self.index.damaged

    def list(self) -> ImageList:
        """Every image once, in the order of the index. Raises ``DamagedError`` if the index cannot be read at all."""
        return [Image(self, entries[0], [name for entry in entries if (name := name_of(entry))])
                for entries in self._by_digest().values()]

    def _by_digest(self) -> dict[str, Descriptors]:
        found: dict[str, Descriptors] = {}
        for entry in self.index.entries():
            if entry["mediaType"] not in oci.INDEX_TYPES:  # those are image lists: storage.image_lists
                found.setdefault(entry["digest"], []).append(entry)
        return found

    def names_of(self, digest: str) -> Texts:
        """The names of the image with manifest ``digest``."""
        return [name for entry in self.index.with_digest(digest) if (name := name_of(entry))]

    def get(self, name: str) -> Image | None:
        """Return the image with exactly this full name (``docker.io/library/alpine:latest``), or None."""
        entry = self.index.find(REF_NAME, name)
        return Image(self, entry) if entry is not None and entry["mediaType"] not in oci.INDEX_TYPES else None

    def find(self, name: str) -> Image | None:
        """Return the image that a user means by ``name``, or None.

        In this order: a whole image id (with or without ``sha256:``); a reference; for a short name that under
        ``localhost/``, then docker.io's, then one stored under any registry; the beginning of an id. Raises
        ``StorageError`` if ``name`` fits several images, or is neither a reference nor an id, or the index is damaged.
        """
        identifier = name.removeprefix("sha256:")
        if is_id(identifier):
            return self._by_id(identifier)
        try:
            wanted = reference.parse(name)
        except reference.InvalidReferenceError:
            if not is_hex(identifier):
                raise
            return self._by_id(identifier)
        if wanted.digest is not None:
            return self._by_reference_digest(wanted, short=reference.is_short(name))
        for candidate in _candidates(name, wanted):
            if image := self.get(candidate):
                return image
        found = self._by_suffix(f"/{_with_tag(name, wanted)}") if reference.is_short(name) else None
        if found is None and is_hex(identifier):
            found = self._by_id(identifier)
        if found is None:
            self.index.entries()  # what cannot be read is not without the image
        return found

    def _by_id(self, prefix: str) -> Image | None:
        if len(prefix) == ID_LENGTH and (entry := self.index.find(IMAGE_ID, prefix)):
            return Image(self, entry)
        found: dict[str, Image] = {}
        for image in self.list():
            try:
                if image.id.startswith(prefix):
                    found.setdefault(image.id, image)
            except StorageError:
                continue  # an image whose manifest is damaged has no id; its neighbours are still found
        if len(found) > 1:
            raise StorageError(f"cannot tell which image {shown(prefix)} is: several ids begin so", "give more digits")
        return next(iter(found.values()), None)

    def _by_suffix(self, suffix: str) -> Image | None:
        found = [image for image in self.list() if any(name.endswith(suffix) for name in image.names)]
        if len(found) > 1:
            names = sorted(name for image in found for name in image.names if name.endswith(suffix))
            raise StorageError(f"cannot tell which image {shown(suffix[1:])} is: there are {', '.join(names[:4])}",
                               "give the name with its registry")
        return found[0] if found else None

    def _by_reference_digest(self, wanted: reference.Reference, *, short: bool) -> Image | None:
        """An image of this repository whose manifest, or the index that it came out of, has the digest."""
        repositories = [wanted.name()]
        if short:
            repositories.append(f"localhost/{wanted.repository.removeprefix('library/')}")
        for entries in self._by_digest().values():
            digests = {entries[0]["digest"], *(e.get("annotations", {}).get(INDEX_DIGEST, "") for e in entries)}
            if wanted.digest not in digests:
                continue
            for name in map(name_of, entries):
                if name and reference.parse(name).name() in repositories:
                    return Image(self, entries[0])
        return None

    def layer_size(self, diff_id: str, otherwise: int) -> int:
        """Bytes of an unpacked layer as its record says; ``otherwise`` if there is none."""
        size = self._layer_sizes.get(diff_id)
        if size is None:
            from storage import jsonfast
            from storage.layers import layer_key

            try:
                with open(self._layout.layer_record(layer_key(diff_id, self._layout.map_key)), "rb") as file:
                    size = jsonfast.loads(file.read(oci.MAX_DOCUMENT))["size"]
                if not isinstance(size, int):
                    size = otherwise
            except (OSError, StorageError, LookupError, TypeError):
                size = otherwise
            self._layer_sizes[diff_id] = size
        return size

    # Writing

    def add(
        self, digest: str, size: int, media_type: str, names: Texts, annotations: dict[str, str] | None = None
    ) -> Image:
        """Record the image whose manifest is the blob ``digest``; return it.

        The last step of a pull, load or build: its blobs must be stored. Names move here from the images that have
        them; with no name at all a new image is recorded without one. Raises ``StorageError`` if a blob is missing.
        """
        for name in names:
            _check_name(name)
        document = self.blobs.read_document(digest)
        manifest = oci.check_manifest(document, media_type)
        for part in (manifest["config"], *manifest["layers"]):
            if not self.blobs.has(part["digest"], part["size"]):
                raise StorageError(f"cannot add the image {digest}: its blob {part['digest']} was removed meanwhile",
                                   "pull the image again")
        descriptor: Descriptor = {"mediaType": media_type, "digest": digest, "size": size, "annotations": {
            **(annotations or {}), IMAGE_ID: Digest(manifest["config"]["digest"]).encoded}}
        with Lock(self._layout.images_lock):
            entries = without_names(self.index.raw_entries(), names)
            self.index.replace(with_names(entries, descriptor, names))
        return Image(self, descriptor)

    def tag(self, image: Image, name: str) -> None:
        """Give ``image`` one name more, taking it from the image that has it. Raises ``NotFoundError``."""
        _check_name(name)
        with Lock(self._layout.images_lock):
            entries = self.index.raw_entries()
            if not any(digest_of(entry) == image.digest for entry in entries):
                raise NotFoundError(f"cannot tag {image.digest}: the image was removed")
            self.index.replace(with_names(without_names(entries, [name]), image.descriptor, [name]))
        image._names = None

    def untag(self, name: str) -> None:
        """Take the full name ``name`` away; an image without any other stays, nameless. Raises ``NotFoundError``.

        Of an image with several manifests (whose layers are compressed differently), one without a name does not stay.
        """
        with Lock(self._layout.images_lock):
            entries = self.index.raw_entries()
            named = next((entry for entry in entries if name_of(entry) == name), None)
            if named is None:
                raise NotFoundError(f"{shown(name)}: image not known")
            left = without_names(entries, [name])
            identifier, digest = annotation_of(named, IMAGE_ID), digest_of(named)
            if identifier and any(
                digest_of(entry) != digest and annotation_of(entry, IMAGE_ID) == identifier for entry in left
            ):
                left = [entry for entry in left if digest_of(entry) != digest or name_of(entry)]
            self._replace_deleting(left)

    def remove(self, image: Image) -> Texts:
        """Take ``image`` with all its names out of the index; return the names.

        Blobs and layers that no image needs any longer are deleted by ``storage.gc.collect`` afterwards.
        """
        identifier = image.id if IMAGE_ID in image.annotations else None
        with Lock(self._layout.images_lock):
            entries = self.index.raw_entries()
            gone = [entry for entry in entries if digest_of(entry) == image.digest
                    or (identifier is not None and annotation_of(entry, IMAGE_ID) == identifier)]
            self._replace_deleting([entry for entry in entries if entry not in gone])
        return [name for entry in gone if (name := name_of(entry))]

    def restore(self, image: Image, names: Texts) -> None:
        """Put back what ``remove`` took out (a container that uses the image appeared meanwhile)."""
        with Lock(self._layout.images_lock):
            entries = without_names(self.index.raw_entries(), names)
            self.index.replace(with_names(entries, image.descriptor, names))

    def _replace_deleting(self, entries: Entries) -> None:
        reserve.deleting(self._layout, lambda: self.index.replace(entries), "cannot write the image index")


def is_hex(text: str) -> bool:
    """Whether an id may begin so."""
    return bool(text) and len(text) <= ID_LENGTH and not text.strip(_HEX)


def is_id(text: str) -> bool:
    """Whether it is a whole id: 64 hex digits."""
    return len(text) == ID_LENGTH and not text.strip(_HEX)


def _with_tag(name: str, wanted: reference.Reference) -> str:
    """The short ``name`` as it was typed, with its tag."""
    return f"{reference.split(name)[0]}:{wanted.tag}"


def _candidates(name: str, wanted: reference.Reference) -> list[str]:
    """The full names that ``name`` can mean, the likeliest first."""
    if not reference.is_short(name):
        return [str(wanted)]
    return [f"localhost/{_with_tag(name, wanted)}", str(wanted)]


def named(known: list[Any], name: str, wanted: reference.Reference) -> list[Any]:
    """Which of ``known`` (lists, artifacts) ``name`` means, which is ``wanted``; several: it is not clear."""
    if wanted.digest is not None:
        return [each for each in known if each.digest == wanted.digest
                and any(reference.parse(own).name() == wanted.name() for own in each.names)][:1]
    for candidate in _candidates(name, wanted):
        if found := [each for each in known if candidate in each.names]:
            return found[:1]
    ending = f"/{_with_tag(name, wanted)}"
    return [each for each in known if reference.is_short(name) and any(own.endswith(ending) for own in each.names)]


def _check_name(name: str) -> None:
    if str(reference.parse(name)) != name:
        raise StorageError(f"cannot name an image {shown(name)}: it is not a full reference")
