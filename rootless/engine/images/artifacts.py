"""``artifact``: files kept under a name, in the store and at registries, as the parts of what is no image."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from rootless.engine.images.manifests import annotations_of
from rootless.engine.images.names import local_name
from rootless.errors import NotFoundError, RootlessError, UsageError
from storage import atomic, gc, jsonfast, oci
from storage.artifacts import CREATED, EMPTY, TITLE, UNKNOWN, Artifact
from storage.errors import DamagedError, os_error
from storage.work import WorkDirectory

if TYPE_CHECKING:
    from rootless.engine.context import Engine
    from storage.oci import Descriptor, Manifest
    from storage.store import Store

    Values = Mapping[str, Any]

_CHUNK = 1 << 20
_SNIFFED = 512

# What a file begins with, and the type that is told of it; whatever else is text by its characters, or it is not.
_MAGIC = (
    (b"%PDF-", "application/pdf"), (b"\x1f\x8b\x08", "application/x-gzip"), (b"PK\x03\x04", "application/zip"),
    (b"\x89PNG\r\n\x1a\n", "image/png"), (b"\xff\xd8\xff", "image/jpeg"), (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"), (b"\x00asm", "application/wasm"),
)  # fmt: skip


_TYPE_CHARS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$&-^_.+")


class Parts(NamedTuple):
    """What the manifest of an artifact is made of beside its files; empty: it is left out, or the default."""

    type: str = ""
    config: Descriptor | None = None
    annotations: Mapping[str, str] = {}
    subject: Descriptor | None = None


def find(engine: Engine, name: str) -> Artifact:
    """The artifact that ``name`` (a reference, a short name or a digest) means. Raises NotFoundError."""
    found = engine.store.artifacts.find(name)
    if found is None:
        raise NotFoundError(f"{name}: artifact does not exist")
    return found


def add(engine: Engine, name: str, paths: Sequence[str], values: Values) -> Artifact:
    """Make the artifact ``name`` (a short name goes below ``localhost/``) of the files ``paths``.

    ``append`` adds them to one that is there, ``replace`` puts it in the place of one. Raises UsageError,
    RootlessError, StorageError.
    """
    full = local_name(name)
    store = engine.store
    append, replace = bool(values.get("append")), bool(values.get("replace"))
    if append and (replace or values.get("type")):
        raise UsageError("cannot use --append with --replace or --type", "the artifact has its type already")
    known = next((each for each in store.artifacts.list() if full in each.names), None)
    if known is not None and not (append or replace):
        raise RootlessError(f"{full}: artifact already exists", "use --append to add to it, or --replace")
    if known is None and append:
        raise NotFoundError(f"{full}: artifact does not exist", "leave out --append to make it")
    _check_titles(known if append else None, paths)
    annotations = annotations_of(values.get("annotation") or [])
    for key in ("type", "file_type"):
        if values.get(key):
            check_type(values[key], f"--{key.replace('_', '-')}")
    with gc.adding(store.layout):
        layers = [stored_file(store, path, values.get("file_type") or "", annotations) for path in paths]
        if append and known is not None:
            manifest: Any = {**known.manifest, "layers": [*known.files, *layers]}
            descriptor = _put(store, manifest)
        else:
            created = {CREATED: _moment()}
            descriptor = make(store, layers, Parts(values.get("type") or "", annotations=created))
        made = store.artifacts.add(descriptor, full, expected=known.digest if known is not None else "")
    if known is not None:
        gc.collect(store, engine.delete_tree)
    return made


def _check_titles(known: Artifact | None, paths: Sequence[str]) -> None:
    """No two files of an artifact have one name: neither could be extracted by it."""
    there = {layer.get("annotations", {}).get(TITLE, "") for layer in known.files} if known else set()
    for path in paths:
        title = os.path.basename(os.path.abspath(path))
        if title in there:
            raise RootlessError(f"cannot add {path}: the artifact has a file {title} already", "rename it")
        there.add(title)


def _moment() -> str:
    """Now, or SOURCE_DATE_EPOCH, as RFC 3339 text."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    seconds = int(epoch) if epoch.isascii() and epoch.isdigit() and len(epoch) < 12 else time.time()
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def stored_file(
    store: Store, path: str, media_type: str = "", annotations: Mapping[str, str] | None = None, *, title: bool = True
) -> Descriptor:
    """Store a file of the user's as a blob; its descriptor, with the name as ``title`` among the annotations.

    Raises RootlessError, StorageError.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise RootlessError(f"cannot read {path}: {error.strerror}") from None
    with WorkDirectory(store.layout) as directory, os.fdopen(fd, "rb", buffering=0) as source:
        if not os.path.isfile(path):
            raise RootlessError(f"cannot add {path}: it is not a regular file", "an artifact is made of files")
        found, size, beginning = hashlib.sha256(), 0, b""
        target = os.open(f"{directory.path}/blob", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            while chunk := source.read(_CHUNK):
                beginning = beginning or chunk[:_SNIFFED]
                found.update(chunk)
                atomic.write_all(target, chunk)
                size += len(chunk)
        except OSError as error:
            raise os_error(f"cannot store {path}", error) from error
        finally:
            os.close(target)
        digest = oci.Digest(f"sha256:{found.hexdigest()}")
        store.blobs.adopt(f"{directory.path}/blob", digest, size)
    descriptor: Descriptor = {"mediaType": media_type or _type_of(beginning), "digest": digest, "size": size}
    about = {**(annotations or {}), **({TITLE: os.path.basename(os.path.abspath(path))} if title else {})}
    if about:
        descriptor["annotations"] = about
    return descriptor


def _type_of(beginning: bytes) -> str:
    """The media type that the beginning of a file tells."""
    for magic, media_type in _MAGIC:
        if beginning.startswith(magic):
            return media_type
    binary = any(byte < 32 and byte not in (9, 10, 12, 13, 27) for byte in beginning)
    return "application/octet-stream" if binary else "text/plain"


def check_type(media_type: str, flag: str) -> str:
    """Return a media type that manifests may hold (RFC 6838, 4.2: no parameters). Raises UsageError."""
    kind, slash, name = media_type.partition("/")
    parts = (kind, name)
    if not slash or not all(0 < len(part) <= 127 and part[0].isalnum() and set(part) <= _TYPE_CHARS for part in parts):
        raise UsageError(f"cannot use {flag} {media_type[:80]!r}: it is not a media type", "for example text/plain")
    return media_type


def make(store: Store, layers: Sequence[Descriptor], parts: Parts) -> Descriptor:
    """Store the manifest of an artifact; its descriptor."""
    empty: Any = {**store.blobs.put(b"{}", EMPTY), "data": "e30="}
    manifest: dict[str, Any] = {
        "schemaVersion": 2, "mediaType": oci.MANIFEST, "artifactType": parts.type or UNKNOWN,
        "config": parts.config or empty, "layers": list(layers) or [empty],
    }  # fmt: skip
    if parts.subject is not None:
        manifest["subject"] = parts.subject
    if parts.annotations:
        manifest["annotations"] = dict(parts.annotations)
    return _put(store, manifest)


def _put(store: Store, manifest: Mapping[str, Any]) -> Descriptor:
    descriptor = store.blobs.put(jsonfast.dumps(manifest).encode("ascii"), oci.MANIFEST)
    descriptor["artifactType"] = manifest.get("artifactType") or UNKNOWN
    return descriptor


# Looking at them


def rows(engine: Engine) -> list[dict[str, Any]]:
    """A row for each name of each artifact, in the shape of ``podman artifact ls --format json``."""
    found = []
    for artifact in engine.store.artifacts.list():
        created = artifact.manifest.get("annotations", {}).get(CREATED, "")
        for name in artifact.names:
            repository, _, rest = name.partition("@")
            head, colon, tag = repository.rpartition(":")
            tagged = bool(colon) and "/" not in tag and not rest
            found.append({
                "Repository": head if tagged else repository, "Tag": tag if tagged else "", "Digest": artifact.digest,
                "CreatedAt": created, "SizeBytes": artifact.size,
            })  # fmt: skip
    return found


def inspect(engine: Engine, artifact: Artifact) -> dict[str, Any]:
    """An artifact in the shape of ``podman artifact inspect``."""
    return {"Manifest": artifact.manifest, "Name": next(iter(artifact.names), ""), "Digest": artifact.digest}


def remove(engine: Engine, artifact: Artifact) -> str:
    """Remove an artifact with all its names; its digest."""
    engine.store.artifacts.remove(artifact)
    gc.collect(engine.store, engine.delete_tree)
    return artifact.digest


# Extracting


def extract(engine: Engine, artifact: Artifact, target: str, values: Values) -> None:
    """Write the files of an artifact below the directory ``target``, or one file to the path ``target``.

    ``digest`` or ``title`` choose one of them. A name that leads anywhere but into the directory is refused before
    anything is written. Raises UsageError, NotFoundError, RootlessError, DamagedError.
    """
    chosen = _chosen(artifact, values.get("digest") or "", values.get("title") or "")
    if not os.path.isdir(target):
        if len(chosen) != 1:
            raise RootlessError(
                f"cannot extract {len(chosen)} files to {target}: it is not a directory", "choose one with --title"
            )
        directory, base = os.path.split(os.path.realpath(target))
        _write_all(engine, directory, [(base, chosen[0])])
        return
    named = [(title_of(layer), layer) for layer in chosen]
    titles = [title for title, _ in named]
    for title in titles:
        if titles.count(title) > 1:
            raise RootlessError(f"cannot extract {title}: two files have that name", "choose one with --digest")
    _write_all(engine, target, named)


def _chosen(artifact: Artifact, digest: str, title: str) -> list[Descriptor]:
    if digest and title:
        raise UsageError("cannot use --digest and --title together", "leave out one of them")
    files = artifact.files
    if title:
        files = [layer for layer in files if layer.get("annotations", {}).get(TITLE) == title]
    elif digest:
        files = [layer for layer in files if layer["digest"].startswith(digest) or digest == _encoded(layer)]
    if (digest or title) and len(files) != 1:
        raise NotFoundError(f"cannot find {title or digest} in the artifact" if not files else
                            f"cannot tell which file {title or digest} is: it fits {len(files)}")  # fmt: skip
    return files


def _encoded(layer: Descriptor) -> str:
    return oci.Digest(layer["digest"]).encoded


def title_of(layer: Descriptor) -> str:
    """What the file of a layer is called below a directory; its digest without a title.

    Raises RootlessError for a title that is more than one plain name.
    """
    title = layer.get("annotations", {}).get(TITLE, "")
    if not title:
        return layer["digest"].replace(":", "-")
    if "/" in title or "\0" in title or title in (".", "..") or len(os.fsencode(title)) > 255:
        raise RootlessError(
            f"cannot extract {title[:80]!r}: that is not the name of a file in a directory",
            "give the path of a file: rootless artifact extract --digest DIGEST ARTIFACT FILE",
        )
    return title


def _write_all(engine: Engine, directory: str, named: Iterable[tuple[str, Descriptor]]) -> None:
    from rootless.engine.outfile import new_file_in

    try:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise RootlessError(f"cannot write to {directory}: {error.strerror}") from None
    try:
        for base, layer in named:
            with new_file_in(fd, base, f"{directory}/{base}", engine.store.caller_umask) as target:
                _copy(engine.store, layer, target)
    finally:
        os.close(fd)


def _copy(store: Store, layer: Descriptor, target: int) -> None:
    """The bytes of a blob, which are those of its digest, or an error before the file has its name."""
    digest = oci.Digest(layer["digest"])
    found = hashlib.new(digest.algorithm)
    path = store.blobs.path(digest)
    try:
        with open(path, "rb", buffering=0) as source:
            while chunk := source.read(_CHUNK):
                found.update(chunk)
                atomic.write_all(target, chunk)
    except OSError as error:
        raise os_error(f"cannot extract blob {digest}", error) from error
    if found.hexdigest() != digest.encoded:
        raise DamagedError(f"cannot use blob {digest}: its bytes are not those of its digest", path)


# In image lists


def of_files(engine: Engine, paths: Sequence[str], values: Values) -> Descriptor:
    """The manifest of an artifact for an image list, by the options ``artifact_*`` of ``manifest add``; its descriptor.

    Call it with ``gc.adding`` held. Raises UsageError, RootlessError, StorageError.
    """
    store = engine.store
    for key in ("artifact_type", "artifact_layer_type", "artifact_config_type"):
        if values.get(key):
            check_type(values[key], f"--{key.replace('_', '-')}")
    kind = values.get("artifact_layer_type") or ""
    title = not values.get("artifact_exclude_titles")
    layers = [stored_file(store, path, kind, title=title) for path in paths]
    config = None
    if values.get("artifact_config"):
        config_type = values.get("artifact_config_type") or "application/octet-stream"
        config = stored_file(store, values["artifact_config"], config_type, title=False)
    elif values.get("artifact_config_type"):
        raise UsageError("cannot use --artifact-config-type without --artifact-config")
    subject = None
    if values.get("artifact_subject"):
        from rootless.engine.images.manifests import look_up

        about: Any = look_up(engine, values["artifact_subject"], {**values, "all": False})[0].descriptor
        subject = {key: about[key] for key in ("mediaType", "digest", "size")}
    annotations = annotations_of(values.get("artifact_annotation") or [])
    parts: Any = Parts(values.get("artifact_type") or "", config, annotations, subject)  # type: ignore[arg-type]
    return make(store, layers, parts)


def manifest_of(document: object, media_type: str, name: str) -> Manifest:
    """The checked manifest of an artifact at a registry. Raises RootlessError that names it."""
    from storage.artifacts import check_artifact
    from storage.errors import StorageError

    try:
        return check_artifact(document, media_type)
    except StorageError as error:
        raise RootlessError(f"cannot use the manifest of {name}: {error.message}", error.hint) from None
