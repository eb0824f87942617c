"""The user's settings: ``rootless.conf``, and what applies of podman's ``containers.conf``."""

from __future__ import annotations

import os

from rootless import paths
from storage import atomic, jsonfast
from storage.errors import StorageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

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
    "cgroups": ("cgroups", str),
    "cgroup_conf": ("cgroup_conf", list),
    "oom_score_adj": ("oom_score_adj", int),
    "pids_limit": ("pids_limit", int),
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
_NO_FLAG: tuple[str, type] = ("", str)
_NOT_HERE = ("bridge", "journald")  # podman's settings that say nothing about this program


class Config:
    """The settings of the user: ``rootless.conf`` and the parts of ``containers.conf`` that apply.

    ``hardened``: the stricter defaults. ``storage_driver``: empty means that one is chosen. ``max_layer_size``: bytes
    that one layer may have unpacked; 0: as many as storage.archive.limits says. ``flags``: defaults of flags of run and
    create, by the key that the command line uses.
    """

    __slots__ = ("flags", "hardened", "max_layer_size", "storage_driver")

    def __init__(self) -> None:
        self.hardened = False
        self.storage_driver = ""
        self.max_layer_size = 0
        self.flags: dict[str, Any] = {}


def read() -> Config:
    """Read the settings; what was understood of unchanged files is kept in the cache, as a TOML parser is slow to load.

    podman's files of /usr/share hold its own defaults, not somebody's wish, and are not read.
    """
    override = os.environ.get("CONTAINERS_CONF")
    shared = ["/etc/containers/containers.conf", paths.config_home() + "/containers/containers.conf"]
    own = paths.config_dir() + "/rootless.conf"
    signature: list[list[str | int]] = []
    present: list[str] = []
    for path in [*([override] if override else shared), own]:
        try:
            status = os.stat(path)
        except OSError:
            continue
        present.append(path)
        signature.append([path, status.st_mtime_ns, status.st_size])
    config = Config()
    if not signature:
        return config
    cache = paths.cache_dir() + "/settings.json"
    known = _cached(cache)
    if known.get("signature") != signature:
        for path in present:
            (_read_own if path == own else _read_shared)(path, config)
        known = {"signature": signature, **{name: getattr(config, name) for name in Config.__slots__}}
        try:
            os.makedirs(paths.cache_dir(), 0o700, exist_ok=True)
            atomic.write(cache, jsonfast.dump_bytes(known), durable=False)
        except (OSError, StorageError):
            return config  # it only makes the next start faster
    for name in Config.__slots__:
        setattr(config, name, known[name])
    return config


def _cached(path: str) -> dict[str, Any]:
    try:
        with open(path, "rb", buffering=0) as file:
            known = jsonfast.loads(file.read())
    except (OSError, ValueError):
        return {}
    complete = isinstance(known, dict) and all(name in known for name in Config.__slots__)
    return known if complete else {}


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
    known: dict[str, type] = {
        "hardened": bool, "storage_driver": str, "max_layer_size": str, "strict": bool, "require": list,
    }  # fmt: skip
    for key, value in document.items():
        if key not in known or not isinstance(value, known[key]):
            raise RootlessError(f"cannot use {key!r} in {path}", "the settings are " + ", ".join(known))
        if isinstance(value, list) and not all(isinstance(name, str) for name in value):
            raise RootlessError(f"cannot use {key!r} in {path}", f'write it like {key} = ["seccomp", "cgroup.memory"]')
        if key in ("strict", "require"):
            config.flags[key] = value
        elif key == "max_layer_size" and isinstance(value, str):
            from rootless.engine.options.values import parse_bytes

            config.max_layer_size = parse_bytes(value, f"{key} in {path}")
        else:
            setattr(config, key, value)


def _read_shared(path: str, config: Config) -> None:
    table = _load(path).get("containers")
    for key, value in table.items() if isinstance(table, dict) else ():
        flag, kind = _FLAG_DEFAULTS.get(key, _NO_FLAG)
        if flag and isinstance(value, kind) and value not in ("", []) and value not in _NOT_HERE:
            config.flags[flag] = value
