"""From the last state to an image in the store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rootless.build.bases import BASE_DIGEST, BASE_NAME
from rootless.containerfile.configure import with_variables
from storage import jsonfast, oci

if TYPE_CHECKING:
    from rootless.build.options import BuildOptions
    from rootless.build.state import State
    from rootless.engine.context import Engine
    from storage.images import Image
    from storage.oci import Descriptor, Manifest

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


def finished(engine: Engine, state: State, options: BuildOptions, work: str) -> State:
    """The state with what the command line puts over the Containerfile: one layer for many, labels, variables.

    ``work`` is a directory for a new layer. Raises RootlessError, StorageError.
    """
    settings = dict(state.settings)
    if options.labels:
        settings["Labels"] = {**(settings.get("Labels") or {}), **options.labels}
    if options.variables:
        settings["Env"] = with_variables(settings.get("Env") or [], options.variables)
    if options.without_variables:
        settings["Env"] = [
            entry for entry in settings.get("Env") or () if entry.partition("=")[0] not in options.without_variables
        ]
    config = {**state.config, "config": settings}
    if options.system_version:
        config["os.version"] = options.system_version
    if options.system_features:
        config["os.features"] = [*(state.config.get("os.features") or ()), *options.system_features]
    state = state._replace(config=config)
    if not options.layers:
        state = _squashed(engine, state, options, work)
    return state


def _squashed(engine: Engine, state: State, options: BuildOptions, work: str) -> State:
    """The state with one layer for those that were made here, or (``squash_all``) for all."""
    from rootless.build.layers import keep
    from rootless.engine.containers.stack import of_layers
    from rootless.engine.images.layerfile import pack_stack

    kept = 0 if options.squash_all else state.inherited
    if len(state.layers) - kept < 2 and not (options.squash_all and state.layers):
        return state
    stack = of_layers(engine, state.diff_ids)
    stack.own = len(state.layers) - kept
    file = pack_stack(engine, stack, f"{work}/squashed", everything=not kept, mtime=options.mtime)
    layer = keep(engine, file, state.diff_ids[:kept])
    below = [entry for entry in state.history[: _entries(state, kept)] if not options.squash_all]
    steps = [{**entry, "empty_layer": True} for entry in state.history[len(below) :]]
    if options.squash_all or not steps:
        steps = steps[-1:] or [{"created": options.now()}]
    steps[-1].pop("empty_layer", None)
    return state._replace(layers=(*state.layers[:kept], layer), history=(*below, *steps))


def _entries(state: State, layers: int) -> int:
    """How many entries of the history are those of the lowest ``layers`` and what follows without a layer."""
    count = 0
    for number, entry in enumerate(state.history):
        if not entry.get("empty_layer"):
            if count == layers:
                return number
            count += 1
    return len(state.history)


def store(engine: Engine, state: State, options: BuildOptions, names: list[str]) -> Image:
    """Put the image into the store and give it its names. Raises StorageError.

    Whoever calls this holds ``gc.adding``.
    """
    blobs = engine.store.blobs
    document = configuration(state, history=options.has_history)
    oci.check_config(jsonfast.loads(document))
    manifest_type = oci.DOCKER_MANIFEST if options.docker else oci.MANIFEST
    layers = [layer.descriptor for layer in state.layers]
    manifest: Manifest = {
        "schemaVersion": 2,
        "mediaType": manifest_type,
        "config": blobs.put(document, oci.DOCKER_CONFIG if options.docker else oci.CONFIG),
        "layers": [_described(layer, options.docker) for layer in layers],
    }
    annotations = _annotations(state, options)
    if annotations and not options.docker:
        manifest["annotations"] = annotations
    put = blobs.put(jsonfast.dumps(manifest).encode(), manifest_type)
    return engine.store.images.add(put["digest"], put["size"], manifest_type, names)


def _described(layer: Descriptor, docker: bool) -> Descriptor:
    """A layer in the manifest; Docker's has no annotations, which tell where a zstd:chunked one has its table."""
    from rootless.engine.images.kinds import as_kind

    found: Descriptor = {"mediaType": layer["mediaType"], "digest": layer["digest"], "size": layer["size"]}
    if not docker and layer.get("annotations"):
        found["annotations"] = layer["annotations"]
    return as_kind(found, docker)


def _annotations(state: State, options: BuildOptions) -> dict[str, str]:
    """Those of the manifest: of the base, if they are wanted, and of the command line."""
    found = {
        key: value for key, value in state.annotations.items()
        if options.inherits_annotations or key in (BASE_NAME, BASE_DIGEST)
    }  # fmt: skip
    return {
        key: value for key, value in {**found, **options.annotations}.items()
        if key not in options.without_annotations
    }  # fmt: skip
