"""``commit``: an image out of a container, its changes as one more layer.

::

    this process ──fork─→ in the user namespace: changes → archive in memory → blob in a file ──fork─→ layer's tree
         └─ blob, configuration and manifest get their names, the image's last

Nothing else is done for the few changed files of most containers (``small_layer``). What is too large for memory goes
the way of every other image: it is packed through a pipe, and installed.
"""

from __future__ import annotations

import time

from rootless.engine import events
from rootless.engine.containers.known import known
from rootless.engine.containers.status import status
from rootless.engine.images.kinds import as_kind
from rootless.engine.images.names import local_name
from rootless.errors import RootlessError, UsageError
from storage import gc, jsonfast, oci
from storage.errors import StorageError
from storage.work import WorkDirectory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType
    from typing import Any

    from rootless.cgroups.v2 import Cgroup
    from rootless.engine.containers.container import Container
    from rootless.engine.context import Engine
    from rootless.engine.images.layerfile import LayerFile
    from rootless.engine.images.worker import Send
    from storage.images import Image
    from storage.oci import Descriptor, Manifest

    Document = dict[str, Any]

_OCI = (oci.MANIFEST, oci.CONFIG, oci.LAYER_GZIP)
_DOCKER = (oci.DOCKER_MANIFEST, oci.DOCKER_CONFIG, oci.DOCKER_LAYER_GZIP)
_FORMATS = {"oci": _OCI, "docker": _DOCKER}
# What the engine adds to the environment of every container: it is no part of what was made in this one.
_ADDED_VARIABLES = frozenset(
    ("container", "HOSTNAME", "TERM", "http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY",
     "FTP_PROXY", "NO_PROXY")
)  # fmt: skip


def commit(engine: Engine, name: str, image_name: str, values: Mapping[str, Any]) -> str:
    """Make an image of a container and call it ``image_name`` ('': nothing); its id.

    ``values``: ``change``, ``config`` (a file), ``author``, ``message``, ``format`` (oci or docker), ``pause`` (on
    unless false), ``quiet``, ``squash``, ``include_volumes``. Raises RootlessError, UsageError, StorageError.
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
    squash = bool(values.get("squash"))
    layers = [] if squash else [as_kind(found, kinds is _DOCKER) for found in image.layers]
    try:
        with gc.adding(engine.store.layout), WorkDirectory(engine.store.layout) as directory:
            path, small = f"{directory.path}/layer", False
            with Paused(engine, container_id, values.get("pause"), bool(values.get("quiet"))) as paused:
                layer = None if squash else _small_layer(engine, container, path, image.diff_ids, paused.end)
                if layer is None:
                    from rootless.engine.containers import stack as stacks
                    from rootless.engine.images.layerfile import pack_stack

                    layer = pack_stack(engine, stacks.of_container(engine, container), path, everything=squash)
                else:
                    small = True
            _complete(config, image, layer, squash, values, container)
            recording = _Recording(engine, layer, layers, config, kinds, names)
            made = recording.directly() if small else recording.installed()
    except (RootlessError, StorageError):
        gc.collect(engine.store, engine.delete_tree)
        gc.sweep(engine.store, engine.delete_tree)
        raise
    events.note(engine, "container", "commit", container_id, container.record)
    return made.id


def _small_layer(
    engine: Engine, container: Container, path: str, below: list[str], packed: Callable[[], None]
) -> LayerFile | None:
    """Make the layer of a container's changes, its blob in the new file ``path``; None if there are too many.

    ``below``: DiffIDs of the layers it belongs on. ``packed`` is called when the container's files are read.
    """
    from rootless import userns
    from rootless.engine.containers import small_layer

    try:
        answer = userns.run_in_userns(
            lambda: small_layer.make(engine, container, path, below, packed), engine.idmap, meanwhile=small_layer.load
        )
    except OSError as error:
        raise RootlessError(f"cannot read the container's files: {error.strerror}") from None
    return small_layer.read(engine, answer, path)


class Paused:
    """Freezes the processes of a container that runs for as long as its files are read: until ``end``, or on leaving.

    ``wanted`` None is as much as can be done: where there is no control group the container goes on, which is said
    unless ``quiet``. SIGTERM and SIGHUP end the process as an exception meanwhile: nobody else would let the container
    go on.
    """

    __slots__ = ("_before", "_group")

    def __init__(self, engine: Engine, container_id: str, wanted: bool | None, quiet: bool) -> None:
        self._group: Cgroup | None = None
        self._before: dict[int, Any] = {}
        now = status(engine, container_id)
        if wanted is False or now.state != "running":
            return
        if now.cgroup:
            from rootless.cgroups.v2 import Cgroup

            self._group = Cgroup(now.cgroup)
        elif wanted:
            raise RootlessError(
                f"cannot pause container {container_id[:12]}: it has no control group", "use --pause=false"
            )
        elif not quiet:
            engine.tell("The container is not paused during the commit: it has no control group")

    def __enter__(self) -> Paused:
        if self._group is not None:
            import signal

            self._before = {number: signal.signal(number, _end_in_order) for number in (signal.SIGTERM, signal.SIGHUP)}
            try:
                self._group.freeze()
            except BaseException:
                self.__exit__(None, None, None)
                raise
        return self

    def end(self) -> None:
        """Let the container go on."""
        if self._group is not None:
            self._group.thaw()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._group is not None:
            import signal

            try:
                self._group.thaw()
            finally:
                for number, handler in self._before.items():
                    signal.signal(number, handler)


def _end_in_order(number: int, _: object) -> None:
    raise RootlessError("interrupted", exit_code=128 + number)


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
    if values.get("config"):
        from rootless.engine.images.changes import merge_file

        merge_file(settings, values["config"])
    if values.get("change"):
        from rootless.engine.images.changes import apply_changes

        config["config"] = apply_changes(settings, values["change"])
    return config


def _variables(environment: list[str], of_image: list[str]) -> list[str]:
    """The container's variables without those that the engine gives to each."""
    known_names = {entry.partition("=")[0] for entry in of_image}
    return [
        entry for entry in environment
        if (name := entry.partition("=")[0]) in known_names or name not in _ADDED_VARIABLES
    ]  # fmt: skip


def _complete(
    config: Document, image: Image, layer: LayerFile, squash: bool, values: Mapping[str, Any], container: Container
) -> None:
    """Put in what is known when the layer is: its DiffID, the time, the step in the history."""
    seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    config["created"] = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{nanoseconds // 1000:06}Z"
    step = {"created": config["created"], "created_by": " ".join(container.record["command"])[:4000]}
    if values.get("author"):
        config["author"] = step["author"] = values["author"]
    if values.get("message"):
        step["comment"] = values["message"]
    below = [] if squash else [str(diff_id) for diff_id in image.diff_ids]
    config["rootfs"] = {"type": "layers", "diff_ids": [*below, layer.diff_id]}
    config["history"] = [*([] if squash else config.get("history") or []), step]


class _Recording:
    """The new image's documents, and the two ways into the store."""

    __slots__ = ("_config", "_engine", "_kinds", "_layer", "_layers", "_names")

    def __init__(
        self, engine: Engine, layer: LayerFile, layers: list[Descriptor], config: Document,
        kinds: tuple[str, str, str], names: list[str],
    ) -> None:  # fmt: skip
        self._engine = engine
        self._layer = layer
        self._layers = layers
        self._config = config
        self._kinds = kinds
        self._names = names

    def _manifest(self) -> Manifest:
        """Store layer and configuration; the manifest that names them."""
        manifest_type, config_type, layer_type = self._kinds
        blobs, layer = self._engine.store.blobs, self._layer
        config = blobs.put(jsonfast.dumps(self._config).encode(), config_type)
        blobs.adopt(layer.path, layer.digest, layer.size)
        return {
            "schemaVersion": 2,
            "mediaType": manifest_type,
            "config": config,
            "layers": [*self._layers, {"mediaType": layer_type, "digest": layer.digest, "size": layer.size}],
        }

    def directly(self) -> Image:
        """Record the image, whose layer is unpacked."""
        oci.check_config(self._config)
        manifest = self._engine.store.blobs.put(jsonfast.dumps(self._manifest()).encode(), self._kinds[0])
        images = self._engine.store.images
        return images.add(manifest["digest"], manifest["size"], manifest["mediaType"], self._names)

    def installed(self) -> Image:
        """Unpack the layer and record the image."""
        from rootless.engine.images.install import install
        from rootless.engine.progress import Progress

        return install(self._engine, self._send, Progress())[0].image

    def _send(self, send: Send) -> None:
        from rootless.engine.images import source as image_source

        layer, manifest = self._layer, self._manifest()
        document = jsonfast.dumps(manifest).encode()
        checked = image_source.read_manifest(document, self._kinds[0], "the new image")
        config = oci.check_config(self._config)
        send(image_source.image_message(document, self._kinds[0], checked, config, self._names))
        send(image_source.blob_message(layer.digest, layer.size, layer.size))
        self._engine.store.blobs.put(document)
