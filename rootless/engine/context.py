"""What every use case of the engine works with: the store, the driver, the id map, the settings."""

from __future__ import annotations

import os

from rootless import paths, userns
from storage.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from rootless.userns import IdMap
    from storage.drivers.base import Driver
    from storage.layers import Layers

# Keys of [containers] in containers.conf(5) that are the default of a flag of run and create, and their type.
_FLAG_DEFAULTS: dict[str, tuple[str, type]] = {
    "env": ("env", list),
    "env_host": ("env_host", bool),
    "http_proxy": ("http_proxy", bool),
    "init": ("init", bool),
    "ipcns": ("ipc", str),
    "pidns": ("pid", str),
    "utsns": ("uts", str),
    "cgroupns": ("cgroupns", str),
    "netns": ("network", str),
    "userns": ("userns", str),
    "log_driver": ("log_driver", str),
    "no_hosts": ("no_hosts", bool),
    "shm_size": ("shm_size", str),
    "tz": ("tz", str),
    "umask": ("umask", str),
    "volumes": ("volume", list),
    "mounts": ("mount", list),
    "annotations": ("annotation", list),
    "default_ulimits": ("ulimit", list),
    "default_sysctls": ("sysctl", list),
    "dns_servers": ("dns", list),
    "dns_options": ("dns_option", list),
    "dns_searches": ("dns_search", list),
    "devices": ("device", list),
}
_NOT_HERE = ("bridge", "journald")  # podman's settings that say nothing about this program


class Config:
    """The settings of the user: ``rootless.conf`` and the parts of ``containers.conf`` that apply.

    ``hardened``: the stricter defaults. ``storage_driver``: empty means that one is chosen. ``flags``: defaults of
    flags of run and create, by the key that the command line uses.
    """

    __slots__ = ("flags", "hardened", "storage_driver")

    def __init__(self) -> None:
        self.hardened = False
        self.storage_driver = ""
        self.flags: dict[str, Any] = {}


class Engine:
    """One invocation's view of the user's containers and images; every part is made when first used."""

    __slots__ = ("_config", "_driver", "_idmap", "_layers", "globals", "store")

    def __init__(self, store: Store, global_values: Mapping[str, Any]) -> None:
        self.store = store
        self.globals = global_values
        self._config: Config | None = None
        self._driver: Driver | None = None
        self._idmap: IdMap | None = None
        self._layers: Layers | None = None

    @property
    def config(self) -> Config:
        """The user's settings."""
        if self._config is None:
            self._config = _read_config()
        return self._config

    @property
    def idmap(self) -> IdMap:
        """The user's default id map, with which layers are unpacked."""
        if self._idmap is None:
            self._idmap = userns.default_map()
        return self._idmap

    @property
    def layers(self) -> Layers:
        """The unpacked layers."""
        if self._layers is None:
            from storage.layers import Layers

            self._layers = Layers(self.store.layout)
        return self._layers

    @property
    def driver(self) -> Driver:
        """The storage driver: the one asked for, else the best one that works here."""
        if self._driver is None:
            from rootless.engine.drivers import choose

            self._driver = choose(self)
        return self._driver

    def run_directory(self, container_id: str) -> str:
        """Where the state of a running container is; gone after a reboot."""
        return self.store.layout.container_run(container_id)

    def delete_tree(self, path: str) -> None:
        """Delete a tree with files of the user's subordinate ids."""
        from rootless.runtime.delete import delete_tree

        delete_tree(path, self.idmap)


def open_engine(global_values: Mapping[str, Any]) -> Engine:
    """Open the user's store; ``global_values`` are those of the flags before the command."""
    data = global_values.get("root")
    run = global_values.get("runroot")
    store = Store.open(
        os.path.abspath(data) if data else paths.data_dir(), os.path.abspath(run) if run else paths.run_dir()
    )
    return Engine(store, global_values)


def _read_config() -> Config:
    config = Config()
    own = paths.config_dir() + "/rootless.conf"
    shared = [
        "/usr/share/containers/containers.conf",
        "/etc/containers/containers.conf",
        paths.config_home() + "/containers/containers.conf",
    ]
    override = os.environ.get("CONTAINERS_CONF")
    for path in [override] if override else shared:
        if os.path.exists(path):
            _read_shared(path, config)
    if os.path.exists(own):
        _read_own(own, config)
    return config


def _load(path: str) -> dict[str, Any]:
    import tomllib

    from rootless.errors import RootlessError

    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except (OSError, ValueError) as error:
        raise RootlessError(f"cannot read {path}: {error}", "mend the file or move it away") from None


def _read_own(path: str, config: Config) -> None:
    from rootless.errors import RootlessError

    document = _load(path)
    known: dict[str, type] = {"hardened": bool, "storage_driver": str}
    for key, value in document.items():
        if key not in known or not isinstance(value, known[key]):
            raise RootlessError(f"cannot use {key!r} in {path}", "the settings are " + ", ".join(known))
        setattr(config, key, value)


def _read_shared(path: str, config: Config) -> None:
    table = _load(path).get("containers")
    for key, value in table.items() if isinstance(table, dict) else ():
        flag, kind = _FLAG_DEFAULTS.get(key, ("", str))
        if flag and isinstance(value, kind) and value not in ("", []) and value not in _NOT_HERE:
            config.flags[flag] = value
