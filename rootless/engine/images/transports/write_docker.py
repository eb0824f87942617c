"""Writing the archive of ``docker save``: uncompressed layers, configurations, manifest.json, repositories.

Beside what ``docker load`` reads now there is what it read before 1.10, as podman writes it: a directory for each
layer, whose ``layer.tar`` is a link, and ``repositories``, which names the last of an image's layers.
"""

from __future__ import annotations

import hashlib
from typing import Any

from rootless.engine.images.transports.outgoing import Outgoing, Report, verified
from rootless.engine.images.transports.relayered import uncompressed
from rootless.engine.images.transports.sinks import TarSink
from storage import jsonfast, oci, reference

_V1_FIELDS = ("created", "author", "architecture", "os", "variant", "config")


class DockerArchiveWriter:
    """Adds images to an archive, whose list of them is written last."""

    def __init__(self, sink: TarSink) -> None:
        self._sink = sink
        self._images: dict[str, dict[str, Any]] = {}
        self._repositories: dict[str, dict[str, str]] = {}

    def add(self, image: Outgoing, report: Report) -> str:
        """Write one image under its names; the digest of its configuration. Raises RootlessError, StorageError."""
        image = uncompressed(image)
        layers = image.document["layers"]
        for blob in layers:
            name = f"{oci.Digest(blob['digest']).encoded}.tar"
            if not self._sink.has(name, blob["size"]):
                self._sink.stream(name, blob["size"], verified(image, blob, report))
        digest = oci.Digest.of(image.config)
        config = f"{digest.encoded}.json"
        if not self._sink.has(config, len(image.config)):
            self._sink.put(config, image.config)
        last = self._old_layers(image)
        entry = self._images.setdefault(config, {
            "Config": config, "RepoTags": [],
            "Layers": [f"{oci.Digest(blob['digest']).encoded}.tar" for blob in layers],
        })  # fmt: skip
        for name in image.names:
            full = reference.parse(name)
            if full.tag is not None and full.tagged() not in entry["RepoTags"]:
                entry["RepoTags"].append(full.tagged())
                self._repositories.setdefault(full.name(), {})[full.tag] = last
        return digest

    def _old_layers(self, image: Outgoing) -> str:
        """The directories of docker before 1.10; the id of the last."""
        config = jsonfast.loads(image.config)
        layers = image.document["layers"]
        parent = ""
        for position, blob in enumerate(layers):
            last = position == len(layers) - 1
            encoded = oci.Digest(blob["digest"]).encoded
            made: dict[str, Any] = {key: config[key] for key in _V1_FIELDS if last and config.get(key)}
            if parent:
                made["parent"] = parent
            seed = f"{parent} {encoded} {oci.Digest.of(image.config) if last else ''}"
            made["id"] = identifier = hashlib.sha256(seed.encode()).hexdigest()
            data = jsonfast.dumps(made).encode()
            if not self._sink.has(f"{identifier}/json", len(data)):
                self._sink.put(f"{identifier}/VERSION", b"1.0")
                self._sink.put(f"{identifier}/json", data)
                self._sink.link(f"{identifier}/layer.tar", f"../{encoded}.tar")
            parent = identifier
        return parent

    def finish(self) -> None:
        """Write the lists of images."""
        self._sink.put("repositories", jsonfast.dumps(self._repositories).encode())
        self._sink.put("manifest.json", jsonfast.dumps(list(self._images.values())).encode())
        self._sink.finish()
