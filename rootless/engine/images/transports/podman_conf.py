"""Where podman keeps its images: ``containers-storage:NAME`` as containers-storage.conf(5) says, or as is said with
``containers-storage:[DRIVER@GRAPHROOT+RUNROOT:OPTIONS]NAME``."""

from __future__ import annotations

import os
import tomllib
from typing import NamedTuple

from rootless.errors import RootlessError, UsageError

DRIVERS = ("overlay", "vfs")
_SYSTEM = ("/etc/containers/storage.conf", "/usr/share/containers/storage.conf")
_LARGEST = 1 << 20


class Place(NamedTuple):
    """A store of podman's: its directory, and the driver that its layers were made with."""

    driver: str
    root: str


def places(rest: str) -> tuple[list[Place], str]:
    """The stores in which a name is looked for, and the name, of what follows ``containers-storage:``.

    Without brackets they are the user's, as storage.conf says, and those that it adds. Raises UsageError,
    RootlessError.
    """
    if not rest.startswith("["):
        return _configured(), rest
    inside, bracket, name = rest[1:].partition("]")
    driver, at, root = inside.partition("@")
    if not at:
        driver, root = ("", inside) if inside.startswith("/") else (inside, "")
    root = root.partition("+")[0].partition(":")[0]
    if not bracket or (driver and driver not in DRIVERS) or (root and not root.startswith("/")):
        raise UsageError(
            f"cannot use containers-storage:{rest}", "write containers-storage:[DRIVER@/DIRECTORY]NAME, or just a name"
        )
    if not root:
        return [place for place in _configured() if place.driver == driver], name
    found = [Place(kind, root) for kind in DRIVERS if driver in ("", kind) and _is_store(root, kind)]
    if not found:
        raise RootlessError(f"cannot find images of podman in {root}", "name the directory that has overlay-images")
    return found, name


def _is_store(root: str, driver: str) -> bool:
    return os.path.isfile(f"{root}/{driver}-images/images.json")


def _configured() -> list[Place]:
    storage, own = _settings()
    options = storage.get("options")
    more = options.get("additionalimagestores") if isinstance(options, dict) else None
    roots = [_graph_root(storage, own)]
    roots += [each for each in more if isinstance(each, str)] if isinstance(more, list) else []
    return [Place(driver, root) for root in roots for driver in DRIVERS if _is_store(root, driver)]


def _settings() -> tuple[dict[str, object], bool]:
    """``[storage]`` of the storage.conf that is in force, and whether that is the user's own."""
    config = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    own = os.environ.get("CONTAINERS_STORAGE_CONF") or f"{config}/containers/storage.conf"
    for path in (own, *_SYSTEM):
        try:
            with open(path, "rb") as file:
                storage = tomllib.loads(file.read(_LARGEST).decode()).get("storage")
        except FileNotFoundError:
            continue
        except OSError as error:
            raise RootlessError(f"cannot read {path}: {error.strerror}") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
            raise RootlessError(f"cannot read {path}: {error}", "see containers-storage.conf(5)") from None
        return (storage if isinstance(storage, dict) else {}), path == own
    return {}, False


def _graph_root(storage: dict[str, object], own: bool) -> str:
    """The directory of the user's store: of the system's file only ``rootless_storage_path`` is for users."""
    root = os.geteuid() == 0
    keys = ["rootless_storage_path"] if not root else []
    for key in ["graphroot", *keys] if root or own else keys:
        text = storage.get(key)
        if isinstance(text, str) and text:
            return _expanded(text)
    if root:
        return "/var/lib/containers/storage"
    return f"{os.environ.get('XDG_DATA_HOME') or os.path.expanduser('~/.local/share')}/containers/storage"


def _expanded(text: str) -> str:
    values = {"$HOME": os.path.expanduser("~"), "$UID": str(os.getuid()), "$USER": os.environ.get("USER", "")}
    for word, value in values.items():
        text = text.replace(word, value)
    return text
