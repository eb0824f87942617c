"""From the last state to an image in the store, or to files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from storage import jsonfast, oci

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rootless.build.options import BuildOptions
    from rootless.build.state import State
    from rootless.engine.context import Engine
    from storage.images import Image
    from storage.oci import Descriptor, Manifest

_AS_DOCKER = {
    oci.LAYER: oci.DOCKER_LAYER, oci.LAYER_GZIP: oci.DOCKER_LAYER_GZIP,
    oci.LAYER_ZSTD: "application/vnd.docker.image.rootfs.diff.tar.zstd",
}  # fmt: skip
_FIRST = ("created", "author", "architecture", "variant", "os", "os.version", "os.features", "config")


def configuration(state: State, *, history: bool = True) -> bytes:
    """The image configuration of a state."""
    created = state.history[-1].get("created") if state.history else None
    found: dict[str, Any] = {"created": created} if created else {}
    found.update((key, state.config[key]) for key in _FIRST if state.config.get(key))
    found.update((key, value) for key, value in state.config.items() if key not in found and key not in _FIRST)
    found["rootfs"] = {"type": "layers", "diff_ids": state.diff_ids}
    if history:
        found["history"] = list(state.history)
    return jsonfast.dumps(found).encode()


def finished(state: State, options: BuildOptions) -> State:
    """The state with what the command line puts over the Containerfile: labels, and variables taken away."""
    settings = dict(state.settings)
    if options.labels:
        settings["Labels"] = {**(settings.get("Labels") or {}), **options.labels}
    if options.without_variables:
        settings["Env"] = [
            entry for entry in settings.get("Env") or () if entry.partition("=")[0] not in options.without_variables
        ]
    return state._replace(config={**state.config, "config": settings})


def store(engine: Engine, state: State, options: BuildOptions, names: list[str]) -> Image:
    """Put the image into the store and give it its names. Raises StorageError.

    Whoever calls this holds ``gc.adding``.
    """
    blobs = engine.store.blobs
    document = configuration(state, history=options.has_history)
    oci.check_config(jsonfast.loads(document))
    manifest_type = oci.DOCKER_MANIFEST if options.docker else oci.MANIFEST
    manifest: Manifest = {
        "schemaVersion": 2,
        "mediaType": manifest_type,
        "config": blobs.put(document, oci.DOCKER_CONFIG if options.docker else oci.CONFIG),
        "layers": [_layer(layer.descriptor, options.docker) for layer in state.layers],
    }
    if options.annotations and not options.docker:
        manifest["annotations"] = options.annotations
    put = blobs.put(jsonfast.dumps(manifest).encode(), manifest_type)
    return engine.store.images.add(put["digest"], put["size"], manifest_type, names)


def _layer(layer: Descriptor, docker: bool) -> Descriptor:
    """The layer under the media type that manifests of the format use."""
    types: Mapping[str, str] = _AS_DOCKER if docker else {value: key for key, value in _AS_DOCKER.items()}
    media_type = types.get(layer["mediaType"], layer["mediaType"])
    return {"mediaType": media_type, "digest": layer["digest"], "size": layer["size"]}
