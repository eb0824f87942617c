"""``manifest``: image lists (one name for the images of several platforms), made and changed in the store.

What is added is looked for here first, then at its registry; of an image at a registry only the manifest is read, and
the list remembers where the rest is. See ``storage.image_lists`` for what is kept.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from rootless.engine.events import note
from rootless.engine.images import names
from rootless.engine.images.instances import shown
from rootless.engine.images.platform import Wanted, choose, wanted
from rootless.errors import NotFoundError, RootlessError, UsageError
from storage import gc, oci, reference
from storage.errors import StorageError
from storage.image_lists import ImageList
from storage.images import Image

if TYPE_CHECKING:
    from rootless.engine.context import Engine
    from storage.oci import Descriptor, Index

    Values = Mapping[str, Any]


class Entry(NamedTuple):
    """What is to be added to a list; ``source`` is the reference at whose registry it is, empty for one that is here.

    ``descriptor`` is that of the manifest, with its platform.
    """

    descriptor: Descriptor
    source: str = ""


def find(engine: Engine, name: str) -> ImageList:
    """The list that ``name`` (a reference, a short name or an id) means. Raises NotFoundError."""
    found = engine.store.lists.find(name)
    if found is None:
        hint = "it is an image, not a list" if engine.store.images.find(name) else ""
        raise NotFoundError(f"{name}: image list not known", hint)
    return found


def exists(engine: Engine, name: str) -> bool:
    """Whether there is such a list."""
    return engine.store.lists.find(name) is not None


def create(
    engine: Engine, name: str, entries: Iterable[Entry], annotations: Mapping[str, str] | None = None,
    *, amend: bool = False,
) -> ImageList:  # fmt: skip
    """Make the list ``name`` (a short name goes below ``localhost/``) of ``entries``; with ``amend`` add to one that
    is there. Raises RootlessError if the name is taken, StorageError."""
    full = names.local_name(name)
    wanted_entries = list(entries)
    known = next((each for each in engine.store.lists.list() if full in each.names), None)
    if known is not None and amend:
        return add(engine, known, wanted_entries, annotations)
    if known is not None or engine.store.images.get(full) is not None:
        raise RootlessError(
            f"cannot make the image list {full}: that name is in use",
            "use --amend to add to it" if known is not None else f"'rootless untag {full}' makes it free",
        )
    index: Index = {"schemaVersion": 2, "mediaType": oci.INDEX, "manifests": []}
    for entry in wanted_entries:
        index = with_entry(index, entry.descriptor)
    if annotations:
        index["annotations"] = dict(annotations)
    created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    made = engine.store.lists.create(index, [full], created, _sources(wanted_entries))
    note(engine, "image", "create", made.id, {"name": full})
    return made


def add(
    engine: Engine, found: ImageList, entries: Sequence[Entry], annotations: Mapping[str, str] | None = None
) -> ImageList:
    """Add ``entries`` to a list, each in the place of one with the same digest; ``annotations`` are the list's own."""

    def change(index: Index) -> Index:
        for entry in entries:
            index = with_entry(index, entry.descriptor)
        return with_annotations(index, annotations) if annotations else index

    return engine.store.lists.change(found, change, _sources(entries))


def _sources(entries: Iterable[Entry]) -> dict[str, str]:
    return {entry.descriptor["digest"]: entry.source for entry in entries if entry.source}


def with_entry(index: Index, descriptor: Descriptor) -> Index:
    """``index`` with ``descriptor``, where it has one of that digest in its place."""
    digest = descriptor["digest"]
    manifests = list(index["manifests"])
    for number, entry in enumerate(manifests):
        if entry["digest"] == digest:
            manifests[number] = descriptor
            return {**index, "manifests": manifests}
    if len(manifests) >= oci.MAX_MANIFESTS:
        raise RootlessError(f"cannot add to the image list: it has {len(manifests)} entries")
    return {**index, "manifests": [*manifests, descriptor]}


def with_annotations(index: Index, annotations: Mapping[str, str]) -> Index:
    """``index`` with further annotations of its own."""
    return {**index, "annotations": {**index.get("annotations", {}), **annotations}}


def remove(engine: Engine, found: ImageList, wanted_digests: Sequence[str]) -> ImageList:
    """Take entries out of a list, by digest or by the name of an image in it. Raises NotFoundError."""
    digests = [entry_of(engine, found, text)["digest"] for text in wanted_digests]

    def change(index: Index) -> Index:
        return {**index, "manifests": [entry for entry in index["manifests"] if entry["digest"] not in digests]}

    changed = engine.store.lists.change(found, change)
    gc.collect(engine.store, engine.delete_tree)
    return changed


def entry_of(engine: Engine, found: ImageList, text: str) -> Descriptor:
    """The entry of a list that ``text`` means: a digest, or an image here that is in it. Raises NotFoundError."""
    digests = [text] if oci.is_digest(text) else []
    if not digests:
        image = engine.store.images.find(text)
        if image is not None:
            digests = [image.digest]
        else:
            full = reference.parse(text)
            at = [entry["digest"] for entry in found.entries if found.source(entry["digest"]) == full.name()]
            digests = [full.digest] if full.digest else at if len(at) == 1 else []
    for entry in found.entries:
        if entry["digest"] in digests:
            return entry
    raise NotFoundError(f"{text}: not in the image list {shown(found)}", "'rootless manifest inspect' shows what is")


def delete(engine: Engine, found: ImageList) -> list[str]:
    """Remove a list; images that are known by themselves stay. The lines ``Untagged: NAME`` and ``Deleted: ID``."""
    removed = engine.store.lists.remove(found)
    gc.collect(engine.store, engine.delete_tree)
    for name in removed:
        note(engine, "image", "untag", found.id, {"name": name})
    note(engine, "image", "remove", found.id, {"name": removed[0] if removed else found.id})
    return [*(f"Untagged: {name}" for name in removed), f"Deleted: {found.id}"]


# What is in a list


def document(engine: Engine, name: str, values: Values) -> Mapping[str, Any]:
    """The document of a list here, else what the registry has under that name. Raises NotFoundError, RootlessError."""
    found = engine.store.lists.find(name) if not name.startswith("docker://") else None
    if found is not None:
        return {"schemaVersion": 2, "mediaType": found.media_type, **found.document}
    if not name.startswith("docker://"):
        image = engine.store.images.find(name)
        elsewhere = [own for own in image.names if not own.startswith("localhost/")] if image is not None else [name]
        if not elsewhere:
            return find(engine, name).document  # raises: it is an image, and of no registry
        name = elsewhere[0]
    from rootless.engine.images import remote

    at_registry: Mapping[str, Any] = remote.look(engine, name.removeprefix("docker://"), values).document
    return at_registry


def entry_for(image: Image) -> Entry:
    """The entry for an image of the store, with the platform that its configuration tells."""
    return Entry(_described(image.digest, image.descriptor["size"], image.media_type, image.config))


def _described(digest: str, size: int, media_type: str, config: Mapping[str, Any]) -> Descriptor:
    if not (config.get("architecture") and config.get("os")):
        return {"mediaType": media_type, "digest": digest, "size": size}
    platform: Any = {"architecture": config["architecture"], "os": config["os"]}
    for key in ("variant", "os.version", "os.features"):
        if config.get(key):
            platform[key] = config[key]
    return {"mediaType": media_type, "digest": digest, "size": size, "platform": platform}


def look_up(engine: Engine, name: str, values: Values) -> list[Entry]:
    """The entries that adding ``name`` gives: an image's one; of a list the one for the platform, with ``all`` each.

    Looked for in the store, then at the registry; ``containers-storage:`` and ``docker://`` say where alone. Another
    transport is pulled first. Raises NotFoundError, RootlessError, StorageError.
    """
    everything, platform = bool(values.get("all")), wanted(_platform_of(values))
    if name.startswith("docker://"):
        return _at_registry(engine, name.removeprefix("docker://"), values, everything, platform)
    from rootless.engine.images.transports import TRANSPORTS

    if name.startswith(TRANSPORTS):
        from rootless.engine.images.pull import pull

        name = pull(engine, name, {**values, "policy": "always"})
    only_here = name.startswith("containers-storage:")
    name = name.removeprefix("containers-storage:")
    found = engine.store.lists.find(name)
    if found is not None:
        return _of_list(found.document, lambda digest: found.source(digest), everything, platform, name)
    image = engine.store.images.find(name)
    if image is not None:
        return [entry_for(image)]
    if only_here:
        raise NotFoundError(f"{name}: image not known")
    return _at_registry(engine, name, values, everything, platform)


def _platform_of(values: Values) -> Values:
    """The platform to choose from an index; with --all nothing is chosen."""
    return {} if values.get("all") else {key: values.get(key) for key in ("os", "arch", "variant")}


def _of_list(
    index: Index, source: Callable[[str], str], everything: bool, platform: Wanted, name: str
) -> list[Entry]:
    chosen = index["manifests"] if everything else [choose(index, platform, name)]
    return [Entry(entry, source(entry["digest"])) for entry in chosen]


def _at_registry(
    engine: Engine, name: str, values: Values, everything: bool, platform: Wanted
) -> list[Entry]:
    from rootless.engine.images import remote

    found = remote.look(engine, name, values)
    repository = reference.parse(found.name).name()
    if found.media_type in oci.INDEX_TYPES:
        try:
            index = oci.check_index(found.document, found.media_type)
        except StorageError as error:
            raise RootlessError(f"cannot use the index of {name}: {error.message}", error.hint) from None
        return _of_list(index, lambda _: repository, everything, platform, name)
    descriptor: Descriptor = {"mediaType": found.media_type, "digest": found.digest, "size": found.size}
    if found.config is None:
        return [Entry(descriptor, repository)]
    return [Entry(_described(found.digest, found.size, found.media_type, found.config), repository)]


def described(entry: Entry, values: Values) -> Entry:
    """``entry`` with what the options say of it: annotation, arch, os, variant, os_version, features, os_features."""
    descriptor: Any = dict(entry.descriptor)
    platform = dict(descriptor.get("platform") or {})
    for key, field in (("arch", "architecture"), ("os", "os"), ("variant", "variant"), ("os_version", "os.version")):
        if values.get(key) is not None:
            platform[field] = values[key]
    for key, field in (("features", "features"), ("os_features", "os.features")):
        if values.get(key):
            platform[field] = list(values[key])
    if platform:
        descriptor["platform"] = {key: value for key, value in platform.items() if value}
        if not (platform.get("architecture") and platform.get("os")):
            raise UsageError("cannot put down half a platform", "give both --os and --arch")
    if values.get("annotation"):
        descriptor["annotations"] = {**descriptor.get("annotations", {}), **annotations_of(values["annotation"])}
    return Entry(descriptor, entry.source)


def annotate(engine: Engine, found: ImageList, text: str, values: Values) -> ImageList:
    """Say something else of the entry ``text`` (see ``entry_of``), by the options of ``described``."""
    digest = entry_of(engine, found, text)["digest"]

    def change(index: Index) -> Index:
        for entry in index["manifests"]:
            if entry["digest"] == digest:
                return with_entry(index, described(Entry(entry), values).descriptor)
        raise NotFoundError(f"{text}: was removed from the image list {shown(found)}")

    return engine.store.lists.change(found, change)


def annotate_list(engine: Engine, found: ImageList, values: Values) -> ImageList:
    """Say something of the list itself: ``annotation``, and ``subject``, the image that it is about."""
    subject = look_up(engine, values["subject"], {**values, "all": False})[0] if values.get("subject") else None

    def change(index: Index) -> Index:
        annotations = annotations_of(values.get("annotation") or [])
        changed = with_annotations(index, annotations) if annotations else index
        if subject is None:
            return changed
        about: Any = subject.descriptor
        described: Any = {key: about[key] for key in ("mediaType", "digest", "size")}
        return {**changed, "subject": described}

    return engine.store.lists.change(found, change)


def annotations_of(words: Iterable[str]) -> dict[str, str]:
    """``KEY=VALUE`` words as annotations. Raises UsageError."""
    found = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise UsageError(f"cannot use the annotation {word[:80]!r}", "write it as KEY=VALUE")
        found[key] = value
    return found
