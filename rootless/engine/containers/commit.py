"""``commit``: an image out of a container, its changes as one more layer.

::

    this process ──fork─→ worker ──fork─→ in the user namespace: changes → archive
         │ hashes and compresses what comes through the pipe, while the container is frozen
         └─ install: blobs, configuration and manifest → unpacked like any other image → the name last
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rootless.engine import events
from rootless.engine.containers import stack as stacks
from rootless.engine.containers.known import known
from rootless.engine.containers.status import status
from rootless.engine.context import Engine
from rootless.engine.images import source as image_source
from rootless.engine.images.changes import apply_changes
from rootless.engine.images.install import install
from rootless.engine.images.layerfile import LayerFile, pack_stack
from rootless.engine.images.names import local_name
from rootless.engine.images.worker import Send
from rootless.engine.progress import Progress
from rootless.errors import RootlessError, UsageError
from storage import jsonfast, oci
from storage.work import WorkDirectory

if TYPE_CHECKING:
    from rootless.engine.containers.container import Container
    from storage.images import Image
    from storage.oci import Descriptor, Manifest

_OCI = (oci.MANIFEST, oci.CONFIG, oci.LAYER_GZIP)
_DOCKER = (oci.DOCKER_MANIFEST, oci.DOCKER_CONFIG, oci.DOCKER_LAYER_GZIP)
_FORMATS = {"oci": _OCI, "docker": _DOCKER}
_SAME_LAYER = (
    (oci.LAYER, oci.DOCKER_LAYER), (oci.LAYER_GZIP, oci.DOCKER_LAYER_GZIP),
    (oci.LAYER_ZSTD, "application/vnd.docker.image.rootfs.diff.tar.zstd"),
)  # fmt: skip
# What the engine adds to the environment of every container: it is no part of what was made in this one.
_ADDED_VARIABLES = frozenset(
    ("container", "HOSTNAME", "TERM", "http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY",
     "FTP_PROXY", "NO_PROXY")
)  # fmt: skip


def commit(engine: Engine, name: str, image_name: str, values: Mapping[str, Any]) -> str:
    """Make an image of a container and call it ``image_name`` ('': nothing); its id.

    ``values``: ``change``, ``author``, ``message``, ``format`` (oci or docker), ``pause`` (on unless false),
    ``quiet``, ``squash``, ``include_volumes``. Raises RootlessError, UsageError, StorageError.
    """
    kinds = _FORMATS.get(values.get("format") or "oci")
    if kinds is None:
        raise UsageError(f"unrecognized image format {values['format']!r}", "use --format oci or --format docker")
    if values.get("message") and kinds is _OCI:
        raise UsageError("messages are only compatible with the docker image format (-f docker)")
    container_id = engine.store.containers.find(name)
    container = known(engine, container_id)
    if container.record["rootfs"]:
        raise RootlessError("cannot commit a container that uses an exploded rootfs", "use rootless export and import")
    names = [local_name(image_name)] if image_name else []
    image = engine.store.images.find(container.record["image"])
    if image is None:
        raise RootlessError(
            f"cannot commit container {name}: its image was removed", "use rootless export and rootless import"
        )
    config = _configuration(container, image, values)
    stack = stacks.of_container(engine, container)
    with WorkDirectory(engine.store.layout) as directory:
        with paused(engine, container_id, values.get("pause"), bool(values.get("quiet"))):
            layer = pack_stack(engine, stack, f"{directory.path}/layer", everything=bool(values.get("squash")))
        _complete(config, image, layer, bool(values.get("squash")), values, container)
        layers = [] if values.get("squash") else [_as_kind(found, kinds is _DOCKER) for found in image.layers]

        def work(send: Send) -> None:
            _store(engine, layer, layers, config, kinds, names, send)

        made = install(engine, work, Progress())[0].image
    events.note(engine, "container", "commit", container_id, container.record)
    return made.id


@contextmanager
def paused(engine: Engine, container_id: str, wanted: bool | None, quiet: bool) -> Iterator[None]:
    """Freeze the processes of a container that runs for as long as its files are read.

    ``wanted`` None is as much as can be done: where there is no control group the container goes on, which is said
    unless ``quiet``.
    """
    now = status(engine, container_id)
    if wanted is False or now.state != "running":
        yield
        return
    if not now.cgroup:
        if wanted:
            raise RootlessError(
                f"cannot pause container {container_id[:12]}: it has no control group", "use --pause=false"
            )
        if not quiet:
            engine.tell("The container is not paused during the commit: it has no control group")
        yield
        return
    from rootless.cgroups.v2 import Cgroup

    group = Cgroup(now.cgroup)
    with _ending_in_order():
        group.freeze()
        try:
            yield
        finally:
            group.thaw()


@contextmanager
def _ending_in_order() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the process as an exception: nobody else would let the container go on."""
    import signal

    def end(number: int, _: object) -> None:
        raise RootlessError("interrupted", exit_code=128 + number)

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# The configuration.


def _configuration(container: Container, image: Image, values: Mapping[str, Any]) -> dict[str, Any]:
    """The image's configuration with what the container was given on the command line, and with the changes."""
    record = container.record
    config: dict[str, Any] = {key: value for key, value in image.config.items() if key != "rootfs"}
    settings = config["config"] = dict(config.get("config") or {})
    process = container.spec["process"]
    entrypoint, command = record["entrypoint"], record["command"][len(record["entrypoint"]) :]
    for key, value in (
        ("Entrypoint", entrypoint), ("Cmd", command), ("Env", _variables(process["env"], settings.get("Env") or [])),
        ("User", record["user"]), ("Labels", record["labels"]), ("WorkingDir", process.get("cwd", "/")),
    ):  # fmt: skip
        if value:
            settings[key] = value
        else:
            settings.pop(key, None)
    ports: dict[str, Any] = {f"{number}/{word}": {} for number, words in record["exposed"].items() for word in words}
    for port in record["ports"]:
        for number in range(port["container_port"], port["container_port"] + max(port.get("range") or 1, 1)):
            ports[f"{number}/{port.get('protocol') or 'tcp'}"] = {}
    if ports:
        settings["ExposedPorts"] = {**(settings.get("ExposedPorts") or {}), **ports}
    volumes = dict(settings.get("Volumes") or {})
    for mount in record["mounts"]:
        anonymous = mount["Type"] == "volume" and mount["Name"] in record["anonymous"]
        if anonymous or (values.get("include_volumes") and mount["Type"] in ("bind", "volume")):
            volumes[mount["Destination"]] = {}
    if volumes:
        settings["Volumes"] = volumes
    apply_changes(settings, values.get("change") or [])
    return config


def _variables(environment: list[str], of_image: list[str]) -> list[str]:
    """The container's variables without those that the engine gives to each."""
    known_names = {entry.partition("=")[0] for entry in of_image}
    return [
        entry for entry in environment
        if (name := entry.partition("=")[0]) in known_names or name not in _ADDED_VARIABLES
    ]  # fmt: skip


def _complete(
    config: dict[str, Any], image: Image, layer: LayerFile, squash: bool, values: Mapping[str, Any],
    container: Container,
) -> None:  # fmt: skip
    """Put in what is known when the layer is: its DiffID, the time, the step in the history."""
    config["created"] = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    step = {"created": config["created"], "created_by": " ".join(container.record["command"])[:4000]}
    if values.get("author"):
        config["author"] = step["author"] = values["author"]
    if values.get("message"):
        step["comment"] = values["message"]
    below = [] if squash else [str(diff_id) for diff_id in image.diff_ids]
    config["rootfs"] = {"type": "layers", "diff_ids": [*below, layer.diff_id]}
    config["history"] = [*([] if squash else config.get("history") or []), step]


def _as_kind(layer: Descriptor, docker: bool) -> Descriptor:
    """The layer under the media type that manifests of the format use."""
    known_types = dict(_SAME_LAYER) if docker else {other: own for own, other in _SAME_LAYER}
    media_type = known_types.get(layer["mediaType"], layer["mediaType"])
    return {"mediaType": media_type, "digest": layer["digest"], "size": layer["size"]}


def _store(
    engine: Engine, layer: LayerFile, layers: list[Descriptor], config: dict[str, Any], kinds: tuple[str, str, str],
    names: list[str], send: Send,
) -> None:  # fmt: skip
    """Put the layer, the configuration and the manifest into the store and announce the image."""
    blobs = engine.store.blobs
    manifest_type, config_type, layer_type = kinds
    manifest: Manifest = {
        "schemaVersion": 2,
        "mediaType": manifest_type,
        "config": blobs.put(jsonfast.dumps(config).encode(), config_type),
        "layers": [*layers, {"mediaType": layer_type, "digest": layer.digest, "size": layer.size}],
    }
    document = jsonfast.dumps(manifest).encode()
    checked = image_source.read_manifest(document, manifest_type, "the new image")
    message = image_source.image_message(document, manifest_type, checked, oci.check_config(config), names)
    blobs.adopt(layer.path, layer.digest, layer.size)
    send(message)
    send(image_source.blob_message(layer.digest, layer.size, layer.size))
    blobs.put(document)
