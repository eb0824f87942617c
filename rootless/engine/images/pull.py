"""``pull``, and the pull before a ``run``: from a name to a source, and from the source to an image."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rootless.engine.context import Engine
from rootless.engine.events import note
from rootless.engine.images import platform as image_platform
from rootless.engine.images import source as image_source
from rootless.engine.images.install import Installed, install
from rootless.engine.images.worker import Send, follow
from rootless.engine.progress import Progress
from rootless.errors import RootlessError, UsageError
from rootless.registry.options import ConnectionOptions
from storage import reference
from storage.errors import StorageError
from storage.images import INDEX_DIGEST, Image

Values = Mapping[str, Any]

_POLICIES = ("always", "missing", "never", "newer")


def check_policy(policy: str, flag: str) -> None:
    """Refuse what is no pull policy; ``flag`` is the one that it was given with."""
    if policy not in _POLICIES:
        raise UsageError(f"cannot use {flag}={policy}", "use one of " + ", ".join(_POLICIES))


def pull(engine: Engine, name: str, values: Values, progress: Progress | None = None) -> str:
    """Fetch ``name``, a reference or ``TRANSPORT:…``; the image's id. Raises RootlessError, StorageError."""
    policy = values.get("policy") or "always"
    check_policy(policy, "--policy")
    _keep_secret(values)
    kept = None if _is_local(name) else engine.store.images.find(name.removeprefix("docker://"))
    if kept is None and policy in ("missing", "never") and not _is_local(name):
        from rootless.engine.images.instances import instance

        kept = instance(engine, name, values)
    shown = progress or Progress()
    if policy in ("missing", "never") and kept is not None and image_platform.wanted(values).accepts(kept.config):
        if _complete(engine, kept, shown):
            return kept.id
        name = next(iter(kept.names), name)  # what was meant by an id, or by a short name, is fetched by its name
    if policy == "never":
        raise RootlessError(f"{name}: image not known", "use another --policy to fetch it")
    try:
        image_id = _fetch(engine, name, values, shown)[0].image.id
        note(engine, "image", "pull", image_id, {"name": name})
        return image_id
    except RootlessError as error:
        if policy == "newer" and kept is not None and not engine.layers.missing(kept.diff_ids):
            return kept.id  # as podman: no registry, no newer image
        note(engine, "image", "pull-error", "", {"name": name}, Error=error.message)
        raise


def _keep_secret(values: Values) -> None:
    """See to it that a password of the command line is in no core file."""
    if values.get("creds"):
        from rootless.registry.memory import leave_no_core

        leave_no_core()


def _complete(engine: Engine, image: Image, progress: Progress) -> bool:
    """Whether all layers of ``image`` are unpacked, after unpacking those that are not from the store's own blobs."""
    if not engine.layers.missing(image.diff_ids):
        return True
    if not all(engine.store.blobs.has(layer["digest"], layer["size"]) for layer in image.layers):
        return False
    data = engine.store.blobs.read(image.digest, verify=True)
    message = image_source.image_message(data, image.media_type, image.manifest, image.config, list(image.names))
    index = image.annotations.get(INDEX_DIGEST, "")
    try:
        install(engine, lambda send: send({**message, "index": index}), progress)
    except (RootlessError, StorageError) as error:
        engine.in_userns(bytes)  # where nothing can be unpacked that is the error
        progress.note(f"{error.message}; fetching the image again")
        return False
    return True


def pull_for_run(engine: Engine, name: str, policy: str, values: Values) -> Image:
    """Pull ``name`` in a child process, so that nothing of it stays in this one, and return the image."""
    found: list[str] = []

    def work(send: Send) -> None:
        progress = engine.progress(bool(values.get("quiet")))
        send({"kind": "pulled", "id": pull(engine, name, {**values, "policy": policy}, progress)})

    follow(work, lambda message: found.append(message["id"]))
    image = engine.store.images.find(found[0])
    if image is None:
        raise RootlessError(f"cannot use {name}: the image was removed just after it was pulled")
    return image


def _is_local(name: str) -> bool:
    from rootless.engine.images.transports import SOURCES

    return name.startswith(SOURCES)


def _fetch(engine: Engine, name: str, values: Values, progress: Progress) -> list[Installed]:
    platform = image_platform.wanted(values)
    if _is_local(name):
        from rootless.engine.images.transports import local

        return install(engine, local.source(engine, name, platform), progress)
    name = name.removeprefix("docker://")
    reference.parse(name)  # an invalid name is refused before a process is made
    options = ConnectionOptions.from_values(values)
    return install(engine, _registry_source(engine, name, platform, options), progress)


def _registry_source(
    engine: Engine, name: str, platform: image_platform.Wanted, options: ConnectionOptions
) -> Callable[[Send], None]:
    def work(send: Send) -> None:
        from rootless.engine.images.fetch import confine, fetch

        confine(engine.store, options)
        fetch(engine.store, name, platform, options, send)

    return work
