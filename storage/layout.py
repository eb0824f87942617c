"""Where everything is: the only module that spells paths of the store.

::

    DATA/                       0700, $XDG_DATA_HOME/rootless
      FORMAT_VERSION            "1": written last when the store is made
      images.lock               held by whoever changes index.json; content.lock: see storage.gc
      index.copy                what index.json is repaired from
      events.log                what happened, a line each; events.log.1: what happened before (storage.eventlog)
      reserve, spare            1 MiB and an inode that are given back when a deletion meets a full disk
      images/                   an OCI image layout: oci-layout, index.json, blobs/<algorithm>/<hex>
      layers/<key>/             diff/ (the tree), owners, layer.json; key = <DiffID hex>[.<id map key>]
      l/<n>                     short links to ../layers/<key>/diff
      containers/<id>/          container.json (record.lock: of who changes it), config.json, launch.json, upper/
                                work/ or rootfs/, files/, ctr.log, exit.json, health.json (changed with record.lock
                                held)
      names/<name>              link whose target is the container's id
      volumes/<name>/           _data/, volume.json
      caches/<key>/             data/, name: what RUN --mount=type=cache keeps; locked itself by whoever uses it;
                                filling: of who makes it
      steps/<key>               what a step of a build made; the directory comes with the first (storage.build_cache)
      tmp/<random>/             half-done work, locked by its maker; *.part: downloads that can be resumed
      trash/<random>            what was deleted and is not yet gone
    RUN/                        0700, $XDG_RUNTIME_DIR/rootless
      engine/<id>/              state of a container that runs
      locks/<name>              locks that guard no single object
"""

from __future__ import annotations

import os

from storage.errors import os_error


def names_in(directory: str) -> list[str]:
    """The names in a directory of the store, in no order. Raises ``StorageError``."""
    try:
        return os.listdir(directory)
    except OSError as error:
        raise os_error(f"cannot read the directory {directory}", error) from error


class Layout:
    """The paths of one store, as strings without a trailing slash.

    ``map_key`` is no path but part of some: the key of the user's default id map, with which layers are unpacked. It
    is empty for a user with subordinate ids. Who has none gets them some day, and needs other layers then.
    """

    __slots__ = (
        "artifacts", "artifacts_copy", "blobs", "build_cache", "caches", "containers", "content_lock", "data",
        "driver_cache", "engine_run", "events", "format_version", "image_copies", "image_mounts", "images",
        "images_lock", "index", "index_copy", "layers", "linked_layers", "links", "map_key", "names", "oci_layout",
        "reserve", "run", "run_locks", "spare", "tmp", "trash", "volumes",
    )

    def __init__(self, data: str, run: str, map_key: str = "") -> None:
        self.data = data
        self.run = run
        self.map_key = map_key
        self.format_version = f"{data}/FORMAT_VERSION"
        self.reserve = f"{data}/reserve"
        self.spare = f"{data}/spare"
        self.images_lock = f"{data}/images.lock"
        self.content_lock = f"{data}/content.lock"
        self.index_copy = f"{data}/index.copy"
        self.artifacts = f"{data}/artifacts.json"
        self.artifacts_copy = f"{data}/artifacts.copy"
        self.image_copies = f"{data}/mounts"
        self.image_mounts = f"{run}/mounts"
        self.events = f"{data}/events.log"
        self.images = f"{data}/images"
        self.index = f"{data}/images/index.json"
        self.oci_layout = f"{data}/images/oci-layout"
        self.blobs = f"{data}/images/blobs"
        self.layers = f"{data}/layers"
        self.links = f"{data}/l"
        self.linked_layers = f"{data}/layers.linked"
        self.containers = f"{data}/containers"
        self.names = f"{data}/names"
        self.build_cache = f"{data}/steps"
        self.volumes = f"{data}/volumes"
        self.caches = f"{data}/caches"
        self.tmp = f"{data}/tmp"
        self.trash = f"{data}/trash"
        self.engine_run = f"{run}/engine"
        self.run_locks = f"{run}/locks"
        self.driver_cache = f"{run}/driver.json"

    def directories(self) -> list[str]:
        """Every directory below DATA that a store has, parents first."""
        return [
            self.images, self.blobs, f"{self.blobs}/sha256", self.layers, self.links, self.containers, self.names,
            self.volumes, self.tmp, self.trash,
        ]

    def run_directories(self) -> list[str]:
        """Every directory below RUN."""
        return [self.engine_run, self.run_locks]

    # Images and layers. Digests and keys are checked by the caller (storage.oci): they become path components here.

    def blob(self, algorithm: str, encoded: str) -> str:
        """The blob with digest ``algorithm:encoded``."""
        return f"{self.blobs}/{algorithm}/{encoded}"

    def partial(self, algorithm: str, encoded: str) -> str:
        """The part of a blob that was downloaded so far."""
        return f"{self.tmp}/{algorithm}-{encoded}.part"

    def layer(self, key: str) -> str:
        """The directory of an unpacked layer."""
        return f"{self.layers}/{key}"

    def layer_diff(self, key: str) -> str:
        """The tree of an unpacked layer."""
        return f"{self.layers}/{key}/diff"

    def layer_record(self, key: str) -> str:
        """The record of an unpacked layer."""
        return f"{self.layers}/{key}/layer.json"

    def link(self, short: str) -> str:
        """The short link ``short``."""
        return f"{self.links}/{short}"

    # Containers. Ids and names are checked by the caller (storage.containers).

    def container(self, container_id: str) -> str:
        """The directory of a container."""
        return f"{self.containers}/{container_id}"

    def container_record(self, container_id: str) -> str:
        """What the engine knows of a container."""
        return f"{self.containers}/{container_id}/container.json"

    def container_record_lock(self, container_id: str) -> str:
        """The lock of who changes the record."""
        return f"{self.containers}/{container_id}/record.lock"

    def container_spec(self, container_id: str) -> str:
        """The runtime specification, which makes the container's directory a bundle."""
        return f"{self.containers}/{container_id}/config.json"

    def container_launch(self, container_id: str) -> str:
        """What a later start needs beside the specification; written last when a container is made."""
        return f"{self.containers}/{container_id}/launch.json"

    def container_files(self, container_id: str) -> str:
        """Generated files that are bound into a container: hosts, resolv.conf, hostname, passwd, …"""
        return f"{self.containers}/{container_id}/files"

    def container_log(self, container_id: str) -> str:
        """The log of a container in k8s-file form."""
        return f"{self.containers}/{container_id}/ctr.log"

    def container_exit(self, container_id: str) -> str:
        """How the last run of a container ended."""
        return f"{self.containers}/{container_id}/exit.json"

    def container_health(self, container_id: str) -> str:
        """What the checks of a container's health found, unless its user wants that elsewhere."""
        return f"{self.containers}/{container_id}/health.json"

    def container_run(self, container_id: str) -> str:
        """The state of a running container; gone after a reboot."""
        return f"{self.engine_run}/{container_id}"

    def name(self, name: str) -> str:
        """The link that holds a container's name."""
        return f"{self.names}/{name}"

    # Volumes. Names are checked by the caller (storage.volumes).

    def volume(self, name: str) -> str:
        """The directory of a volume."""
        return f"{self.volumes}/{name}"

    def volume_data(self, name: str) -> str:
        """The directory that containers see."""
        return f"{self.volumes}/{name}/_data"

    def volume_record(self, name: str) -> str:
        """The record of a volume."""
        return f"{self.volumes}/{name}/volume.json"

    # Passing things.

    def new_temporary(self) -> str:
        """A fresh path in tmp/, not yet made. Its maker locks it (``storage.locks``) for as long as the work lasts."""
        return f"{self.tmp}/{os.urandom(8).hex()}"

    def new_trash(self) -> str:
        """A fresh path in trash/, to rename to what is deleted."""
        return f"{self.trash}/{os.urandom(8).hex()}"
