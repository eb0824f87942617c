"""The documents of an image held against image-spec 1.1: manifests, indexes, configurations, layouts, archives.

The schemas say what the specification's text says (descriptor.md, manifest.md, image-index.md, config.md,
image-layout.md), and of Docker's documents what its "Image Manifest V 2, Schema 2" says.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema

OCI = "application/vnd.oci.image"
DOCKER = "application/vnd.docker"
EMPTY = "application/vnd.oci.empty.v1+json"

_RESTRICTED = "[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}"  # RFC 6838, 4.2
_MEDIA_TYPE = {"type": "string", "pattern": f"^{_RESTRICTED}/{_RESTRICTED}$"}
_DIGEST = {
    "type": "string", "pattern": "^[a-z0-9]+([+._-][a-z0-9]+)*:[a-zA-Z0-9=_-]+$",
    "if": {"pattern": "^sha256:"}, "then": {"pattern": "^sha256:[a-f0-9]{64}$"},
    "else": {"if": {"pattern": "^sha512:"}, "then": {"pattern": "^sha512:[a-f0-9]{128}$"}},
}  # fmt: skip
_TEXT = {"type": "string"}
_TEXTS = {"type": "array", "items": _TEXT}
_TIME = {"type": "string", "format": "date-time"}
_TEXT_MAP = {"type": "object", "additionalProperties": _TEXT, "propertyNames": {"minLength": 1}}
_SET = {"type": "object", "additionalProperties": {"type": "object", "maxProperties": 0}}
_PLATFORM: dict[str, Any] = {
    "type": "object", "required": ["architecture", "os"],
    "properties": {
        "architecture": {"type": "string", "minLength": 1}, "os": {"type": "string", "minLength": 1},
        "os.version": _TEXT, "os.features": _TEXTS, "variant": _TEXT,
    },
}  # fmt: skip
_DESCRIPTOR: dict[str, Any] = {
    "type": "object", "required": ["mediaType", "digest", "size"],
    "properties": {
        "mediaType": _MEDIA_TYPE, "digest": _DIGEST, "size": {"type": "integer", "minimum": 0, "maximum": 2**63 - 1},
        "urls": {"type": "array", "items": {"type": "string", "format": "uri"}}, "annotations": _TEXT_MAP,
        "data": {"type": "string", "contentEncoding": "base64"}, "artifactType": _MEDIA_TYPE, "platform": _PLATFORM,
    },
}  # fmt: skip
_LAYER_TYPES = {
    "enum": [
        f"{OCI}.layer.{kind}v1.tar{packing}" for kind in ("", "nondistributable.") for packing in ("", "+gzip", "+zstd")
    ]
}
MANIFEST: dict[str, Any] = {
    "type": "object", "required": ["schemaVersion", "config", "layers"],
    "properties": {
        "schemaVersion": {"const": 2}, "mediaType": {"const": f"{OCI}.manifest.v1+json"}, "artifactType": _MEDIA_TYPE,
        "config": _DESCRIPTOR, "layers": {"type": "array", "minItems": 1, "items": _DESCRIPTOR},
        "subject": _DESCRIPTOR, "annotations": _TEXT_MAP, "manifests": False,
    },
    "allOf": [
        {
            "if": {"properties": {"config": {"properties": {"mediaType": {"const": EMPTY}}}}},
            "then": {"required": ["artifactType"]},
        },
        {
            "if": {"properties": {"config": {"properties": {"mediaType": {"const": f"{OCI}.config.v1+json"}}}}},
            "then": {"properties": {"layers": {"items": {"properties": {"mediaType": _LAYER_TYPES}}}}},
        },
    ],
}  # fmt: skip
INDEX: dict[str, Any] = {
    "type": "object", "required": ["schemaVersion", "manifests"],
    "properties": {
        "schemaVersion": {"const": 2}, "mediaType": {"const": f"{OCI}.index.v1+json"}, "artifactType": _MEDIA_TYPE,
        "manifests": {"type": "array", "items": _DESCRIPTOR}, "subject": _DESCRIPTOR, "annotations": _TEXT_MAP,
        "layers": False, "config": False,
    },
}  # fmt: skip
CONFIG: dict[str, Any] = {
    "type": "object", "required": ["architecture", "os", "rootfs"],
    "properties": {
        **_PLATFORM["properties"], "created": _TIME, "author": _TEXT,
        "config": {
            "type": "object",
            "properties": {
                "User": _TEXT, "ExposedPorts": {**_SET, "propertyNames": {"pattern": "^[0-9]+(/(tcp|udp|sctp))?$"}},
                "Env": {"type": "array", "items": {"type": "string", "pattern": "^[^=]+="}}, "Entrypoint": _TEXTS,
                "Cmd": _TEXTS, "Volumes": _SET, "WorkingDir": {"type": "string", "pattern": "^(/|$)"},
                "Labels": {"type": "object", "additionalProperties": _TEXT},
                "StopSignal": {"type": "string", "pattern": "^(SIG[A-Z0-9+-]+|[0-9]+)$"},
                "ArgsEscaped": {"type": "boolean"}, "Shell": _TEXTS, "OnBuild": _TEXTS,
                "Healthcheck": {
                    "type": "object",
                    "properties": {
                        "Test": _TEXTS,
                        **{key: {"type": "integer"} for key in ("Interval", "Timeout", "StartPeriod", "Retries")},
                    },
                },
            },
        },
        "rootfs": {
            "type": "object", "required": ["type", "diff_ids"],
            "properties": {"type": {"const": "layers"}, "diff_ids": {"type": "array", "items": _DIGEST}},
        },
        "history": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "created": _TIME, "author": _TEXT, "created_by": _TEXT, "comment": _TEXT,
                    "empty_layer": {"type": "boolean"},
                },
            },
        },
    },
}  # fmt: skip
LAYOUT = {
    "type": "object", "required": ["imageLayoutVersion"], "properties": {"imageLayoutVersion": {"const": "1.0.0"}},
}  # fmt: skip
_OF_DOCKER = {**_DESCRIPTOR, "properties": {**_DESCRIPTOR["properties"], "annotations": False}}
DOCKER_MANIFEST: dict[str, Any] = {
    "type": "object", "required": ["schemaVersion", "mediaType", "config", "layers"],
    "properties": {
        "schemaVersion": {"const": 2}, "mediaType": {"const": f"{DOCKER}.distribution.manifest.v2+json"},
        "config": {**_OF_DOCKER, "properties": {"mediaType": {"const": f"{DOCKER}.container.image.v1+json"}}},
        "layers": {
            "type": "array",
            "items": {
                **_OF_DOCKER,
                "properties": {"mediaType": {"pattern": r"\.image\.rootfs\.(foreign\.)?diff\.tar(\.gzip)?$"}},
            },
        },
        "annotations": False,
    },
}  # fmt: skip
DOCKER_INDEX: dict[str, Any] = {
    "type": "object", "required": ["schemaVersion", "mediaType", "manifests"],
    "properties": {
        "schemaVersion": {"const": 2}, "mediaType": {"const": f"{DOCKER}.distribution.manifest.list.v2+json"},
        "manifests": {"type": "array", "items": {**_OF_DOCKER, "required": [*_DESCRIPTOR["required"], "platform"]}},
        "annotations": False,
    },
}  # fmt: skip
DOCKER_ARCHIVE: dict[str, Any] = {
    "type": "array", "minItems": 1,
    "items": {
        "type": "object", "required": ["Config", "RepoTags", "Layers"],
        "properties": {"Config": _TEXT, "RepoTags": {"type": ["array", "null"], "items": _TEXT}, "Layers": _TEXTS},
    },
}  # fmt: skip

_BY_TYPE = {
    f"{OCI}.manifest.v1+json": MANIFEST, f"{OCI}.index.v1+json": INDEX,
    f"{DOCKER}.distribution.manifest.v2+json": DOCKER_MANIFEST,
    f"{DOCKER}.distribution.manifest.list.v2+json": DOCKER_INDEX,
}  # fmt: skip
_CONFIGS = (f"{OCI}.config.v1+json", f"{DOCKER}.container.image.v1+json")

Read = Callable[[str], bytes | None]
"""Gives the content of a digest; None where it is not there."""


def problems(document: object, schema: dict[str, Any]) -> Iterator[str]:
    """What is wrong with a document: the place in it, and why."""
    validator = jsonschema.Draft202012Validator(schema, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER)
    for error in validator.iter_errors(document):
        yield f"{error.json_path}: {error.message[:300]}"


class Checked:
    """What a walk found wrong, and how many documents it saw of each kind."""

    def __init__(self, read: Read) -> None:
        self.wrong: list[str] = []
        self.seen = {"index": 0, "manifest": 0, "config": 0}
        self._read = read
        self._done: set[str] = set()

    def descriptor(self, descriptor: dict[str, Any]) -> None:
        """Check what a descriptor of an index names, and all below it."""
        digest = descriptor["digest"]
        if digest in self._done:
            return
        self._done.add(digest)
        data = self._blob(descriptor)
        schema = _BY_TYPE.get(descriptor["mediaType"])
        if data is None:
            return
        if schema is None:
            self.wrong.append(f"{digest}: it has the type {descriptor['mediaType']}")
            return
        document = json.loads(data)
        self.wrong += [f"{digest}: {problem}" for problem in problems(document, schema)]
        if document.get("mediaType", descriptor["mediaType"]) != descriptor["mediaType"]:
            self.wrong.append(f"{digest}: it calls itself {document['mediaType']}")
        if "manifests" in document:
            self.seen["index"] += 1
            for entry in document["manifests"]:
                self.descriptor(entry)
        else:
            self.seen["manifest"] += 1
            self._image(document)

    def _image(self, manifest: dict[str, Any]) -> None:
        for layer in manifest["layers"]:
            self._blob(layer)
        data = self._blob(manifest["config"])
        if data is not None and manifest["config"]["mediaType"] in _CONFIGS:
            self.seen["config"] += 1
            self.config(json.loads(data), manifest["config"]["digest"], len(manifest["layers"]))

    def config(self, config: dict[str, Any], name: str, layers: int) -> None:
        """Check a configuration of an image of so many layers."""
        self.wrong += [f"{name}: {problem}" for problem in problems(config, CONFIG)]
        if len(config["rootfs"]["diff_ids"]) != layers:
            self.wrong.append(f"{name}: it has {len(config['rootfs']['diff_ids'])} diff_ids for {layers} layers")
        steps = [step for step in config.get("history", []) if not step.get("empty_layer")]
        if "history" in config and len(steps) != layers:
            self.wrong.append(f"{name}: its history has {len(steps)} steps with a layer, of {layers}")

    def _blob(self, descriptor: dict[str, Any]) -> bytes | None:
        digest = descriptor["digest"]
        data = self._read(digest)
        if data is None:
            self.wrong.append(f"{digest}: it is missing")
        elif len(data) != descriptor["size"]:
            self.wrong.append(f"{digest}: it has {len(data)} bytes, not {descriptor['size']}")
        elif hashlib.new(digest.partition(":")[0], data).hexdigest() != digest.partition(":")[2]:
            self.wrong.append(f"{digest}: it has another digest")
        return data


def of_layout(directory: Path) -> Checked:
    """Check an OCI image layout; the images of a store are one."""
    return _of_files(lambda name: (directory / name).read_bytes() if (directory / name).is_file() else None)


def of_archive(path: Path) -> Checked:
    """Check an OCI archive, or one of Docker's."""
    with tarfile.open(path) as archive:
        members = {member.name.removeprefix("./"): member for member in archive}

        def read(name: str) -> bytes | None:
            member = members.get(name)
            while member is not None and member.issym():
                member = members.get(str(Path(name).parent.joinpath(member.linkname)).removeprefix("./"))
            found = archive.extractfile(member) if member is not None else None
            return found.read() if found is not None else None

        return _of_files(read) if "index.json" in members else _of_docker(read)


def _of_files(read: Read) -> Checked:
    checked = Checked(lambda digest: read(f"blobs/{digest.replace(':', '/')}"))
    for name, schema in (("oci-layout", LAYOUT), ("index.json", INDEX)):
        data = read(name)
        document = json.loads(data) if data else None
        checked.wrong += [f"{name}: {problem}" for problem in problems(document, schema)]
        if name == "index.json" and document:
            checked.seen["index"] += 1
            for entry in document["manifests"]:
                checked.descriptor(entry)
    return checked


def _of_docker(read: Read) -> Checked:
    checked = Checked(read)
    manifest = json.loads(read("manifest.json") or b"null")
    checked.wrong += [f"manifest.json: {problem}" for problem in problems(manifest, DOCKER_ARCHIVE)]
    for image in manifest or ():
        checked.seen["manifest"] += 1
        data = read(image["Config"])
        layers = [read(layer) for layer in image["Layers"]]
        if data is None or None in layers:
            checked.wrong.append(f"{image['Config']}: a part of it is missing")
            continue
        checked.seen["config"] += 1
        config = json.loads(data)
        checked.config(config, image["Config"], len(layers))
        digests = [f"sha256:{hashlib.sha256(layer or b'').hexdigest()}" for layer in layers]
        if digests != config["rootfs"]["diff_ids"]:
            checked.wrong.append(f"{image['Config']}: its layers are not those of its diff_ids")
        if Path(image["Config"]).stem != hashlib.sha256(data).hexdigest():
            checked.wrong.append(f"{image['Config']}: it has another name than its digest")
    return checked


def of_registry(directory: Path) -> Checked:
    """Check all that a docker-registry holds; ``directory`` has its data."""
    blobs = directory / "docker/registry/v2/blobs"

    def read(digest: str) -> bytes | None:
        algorithm, _, encoded = digest.partition(":")
        path = blobs / algorithm / encoded[:2] / encoded / "data"
        return path.read_bytes() if path.is_file() else None

    checked = Checked(read)
    for link in sorted(directory.glob("docker/registry/v2/repositories/**/_manifests/revisions/*/*/link")):
        digest = link.read_text()
        data = read(digest)
        if data is not None:
            media_type = json.loads(data).get("mediaType", f"{OCI}.manifest.v1+json")
            checked.descriptor({"mediaType": media_type, "digest": digest, "size": len(data)})
    return checked
