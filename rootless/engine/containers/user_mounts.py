"""From what the user and the image ask to be mounted to mounts that can be made: volumes looked up or created, sources
checked, directories for throw-away layers made.
"""

from __future__ import annotations

import os

from rootless.engine.events import note
from rootless.errors import RootlessError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from rootless.engine.containers.mounts import Mount
    from rootless.engine.context import Engine
    from rootless.engine.options.run import RunOptions
    from rootless.engine.options.volume import UserMount

_PROPAGATION = frozenset(
    ("shared", "rshared", "slave", "rslave", "private", "rprivate", "unbindable", "runbindable")
)


class Resolved:
    """``mounts`` for the Spec, ``shown`` as inspect shows them, ``copy_up`` (path in the container, volume directory)
    of volumes that take over what the image has there, ``chown`` directories that become the container user's,
    ``relabel`` (path on the host, "shared" or "private") of the options z and Z and of new volumes, ``anonymous`` names
    of volumes made for this container alone, ``created`` names of all volumes made here.
    """

    __slots__ = ("anonymous", "chown", "copy_up", "created", "mounts", "relabel", "shown")

    def __init__(self, created: list[str]) -> None:
        self.mounts: list[Mount] = []
        self.shown: list[dict[str, Any]] = []
        self.copy_up: list[tuple[str, str]] = []
        self.chown: list[tuple[str, str]] = []
        self.relabel: list[tuple[str, str]] = []
        self.anonymous: list[str] = []
        self.created = created


def wanted_mounts(engine: Engine, options: RunOptions, image_volumes: Iterable[str]) -> list[UserMount]:
    """The user's mounts, those of other containers, and the image's volumes where neither has one."""
    wanted: dict[str, UserMount] = {}
    if image_volumes:
        wanted.update(_image_volumes(image_volumes, options.image_volume))
    for text in options.volumes_from:
        wanted.update((mount["destination"], mount) for mount in _volumes_from(engine, text))
    wanted.update((mount["destination"], mount) for mount in options.mounts)
    return list(wanted.values())


def _image_volumes(paths: Iterable[str], mode: str) -> dict[str, UserMount]:
    from rootless.engine.options.volume import check_destination, tmpfs_options, volume_options

    found: dict[str, UserMount] = {}
    if mode == "ignore":
        return found
    for path in paths:
        # An image may write anything here, with .. too: it is a path below the container's root whatever it says.
        destination = check_destination("/" + path.lstrip("/"))
        if mode == "tmpfs":
            options = [*tmpfs_options([], {}), "tmpcopyup"]
            found[destination] = {
                "type": "tmpfs", "source": "tmpfs", "destination": destination, "options": options,
            }  # fmt: skip
        else:
            found[destination] = {
                "type": "volume", "source": "", "destination": destination, "options": volume_options([]),
                "copy_up": True,
            }  # fmt: skip
    return found


def _volumes_from(engine: Engine, text: str) -> list[UserMount]:
    from rootless.engine.options.volume import RELABEL

    name, _, words = text.partition(":")
    options = [word for word in words.split(",") if word]
    for word in options:
        if word not in ("ro", "rw", "z", "Z"):
            raise RootlessError(f"cannot use the option {word[:40]!r} in --volumes-from", "use ro, rw, z or Z")
    record = engine.store.containers.load(engine.store.containers.find(name))
    found: list[UserMount] = []
    for mount in record.get("mounts", []):
        if mount["Type"] not in ("bind", "volume"):
            continue
        taken: UserMount = {
            "type": mount["Type"], "source": mount["Name"] if mount["Type"] == "volume" else mount["Source"],
            "destination": mount["Destination"], "options": oci_options(mount),
        }  # fmt: skip
        if mount.get("SubPath"):
            taken["subpath"] = mount["SubPath"]
        for word in options:
            if word in RELABEL:
                taken["relabel"] = RELABEL[word]
            else:
                taken["options"][-1] = word
        found.append(taken)
    return found


def resolve(
    engine: Engine, wanted: Iterable[UserMount], directory: str, durable: bool, created: list[str]
) -> Resolved:
    """Make ``wanted`` mountable for the container in ``directory``. Raises RootlessError when a source is missing.

    ``durable`` is false for what a power cut may take. Names of volumes made here are added to ``created``, which the
    caller removes if the container cannot be made.
    """
    found = Resolved(created)
    for number, mount in enumerate(wanted):
        _resolve_one(engine, mount, f"{directory}/overlay/{number}", durable, found)
    return found


def _resolve_one(engine: Engine, mount: UserMount, scratch: str, durable: bool, found: Resolved) -> None:
    kind, destination, options = mount["type"], mount["destination"], list(mount["options"])
    if kind in ("tmpfs", "devpts"):
        found.mounts.append({"destination": destination, "type": kind, "source": kind, "options": options})
        if kind == "tmpfs":
            found.shown.append(_shown("tmpfs", "", "", destination, options))
        return
    if kind == "image":
        _image_mount(engine, mount, scratch, found)
        return
    name = ""
    if kind == "volume":
        name, source = _volume(engine, mount, options, durable, found)
    else:
        source = mount["source"]
        if not os.path.lexists(source):
            hint = "make it first, or name a volume, without '/'"
            raise RootlessError(f"cannot mount {source}: no such file or directory", hint)
    subpath = mount.get("subpath", "")
    shown = _below(source, subpath) if subpath else source
    if mount.get("chown"):
        found.chown.append((source, subpath))
    if mount.get("relabel"):
        if subpath:
            raise RootlessError("cannot relabel a subpath of a volume", "mount the whole volume with the option z once")
        found.relabel.append((source, mount["relabel"]))
    found.shown.append(_shown(kind, name, shown, destination, options, subpath))
    made: Mount
    if mount.get("overlay"):
        made = _overlay(mount, source, shown, scratch, options)
    else:
        made = {"destination": destination, "type": "bind", "source": source, "options": options}
    if subpath:
        # Looked up again when it is mounted, in the same way: by then it may be another.
        made["beneath"] = subpath
    found.mounts.append(made)


def _volume(
    engine: Engine, mount: UserMount, options: list[str], durable: bool, found: Resolved
) -> tuple[str, str]:
    from rootless.engine.containers import volumes

    store = engine.store.volumes
    name = mount["source"]
    if name and store.exists(name):
        record = store.load(name)
    else:
        chosen = mount.get("volume_options") or {}
        volumes.check_options(chosen)
        record = store.create(name or None, "local", mount.get("labels"), chosen, not name, durable)
        found.created.append(record["name"])
        note(engine, "volume", "create", "", {"name": record["name"]})
        if not name:
            found.anonymous.append(record["name"])
    source, extra = volumes.source(engine, record)
    if found.created[-1:] == [record["name"]] and not mount.get("relabel"):
        found.relabel.append((source, "shared"))
    options += [word for word in extra if word not in options]
    if "ro" in extra and "rw" in options:
        options.remove("rw")
    if mount.get("copy_up") and not record["options"] and is_empty(source):
        found.copy_up.append((mount["destination"], source))
    return record["name"], source


def is_empty(directory: str) -> bool:
    """Whether a volume holds nothing; one that its container closed to us holds something."""
    try:
        return not os.listdir(directory)
    except OSError:
        return False


def _below(source: str, subpath: str) -> str:
    """A path in a volume, none of whose components may be a link: a container could have made it lead to the host."""
    from rootless.linux.path import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, openat2

    directory = os.open(source, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.close(openat2(directory, subpath, os.O_PATH, 0, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS))
    except OSError as error:
        raise RootlessError(f"cannot mount the subpath {subpath[:120]}: {error.strerror}") from None
    finally:
        os.close(directory)
    return f"{source}/{subpath}"


def _overlay(mount: UserMount, source: str, shown: str, scratch: str, options: list[str]) -> Mount:
    """The option O: changes go to a layer above the source, which is thrown away with the container."""
    if not os.path.isdir(shown):
        raise RootlessError(f"cannot mount {shown} with the option O: it is not a directory")
    upper, work = mount.get("upper") or f"{scratch}/upper", mount.get("work") or f"{scratch}/work"
    if not mount.get("upper"):
        os.makedirs(upper)
        os.makedirs(work)
        status = os.stat(shown)
        os.chmod(upper, status.st_mode & 0o7777)
    return _overlay_mount(mount["destination"], [source], upper, work, options)


def _overlay_mount(destination: str, lower: list[str], upper: str, work: str, options: list[str]) -> Mount:
    words = ["lowerdir=" + ":".join(_escape(path) for path in lower)]
    if upper:
        words += [f"upperdir={_escape(upper)}", f"workdir={_escape(work)}"]
    words += [word for word in options if word not in ("rbind", "bind", "rw")]
    return {"destination": destination, "type": "overlay", "source": "overlay", "options": words}


def _escape(path: str) -> str:
    """A path as overlayfs reads it in lowerdir= and upperdir=."""
    return path.replace("\\", "\\\\").replace(":", "\\:").replace(",", "\\,")


def _image_mount(engine: Engine, mount: UserMount, scratch: str, found: Resolved) -> None:
    """The file system of another image; read-only unless rw was asked for, whose changes are then thrown away."""
    from rootless.engine.images.resolve import resolve as resolve_image

    if mount.get("subpath"):
        raise RootlessError("cannot use subpath in --mount type=image")
    image = resolve_image(engine, mount["source"], "missing", {})
    layers = [engine.layers.path(diff_id) for diff_id in reversed(image.diff_ids)]
    options = [word for word in mount["options"] if word not in ("ro", "rw")]
    if mount.get("writable"):
        os.makedirs(f"{scratch}/upper", 0o755)
        os.makedirs(f"{scratch}/work")
        made = _overlay_mount(mount["destination"], layers, f"{scratch}/upper", f"{scratch}/work", options)
    elif len(layers) == 1:
        made = {
            "destination": mount["destination"], "type": "bind", "source": layers[0], "options": [*options, "ro"],
        }  # fmt: skip
    else:
        made = _overlay_mount(mount["destination"], layers, "", "", [*options, "ro"])
    found.mounts.append(made)
    found.shown.append(_shown("image", "", mount["source"], mount["destination"], made["options"][-1:]))


def _shown(
    kind: str, name: str, source: str, destination: str, options: list[str], subpath: str = ""
) -> dict[str, Any]:
    """One entry of ``Mounts`` in ``podman inspect``."""
    propagation = next((word for word in options if word in _PROPAGATION), "")
    kept = [word for word in options if word not in _PROPAGATION and word not in ("ro", "rw")]
    return {
        "Type": kind,
        **({"Name": name} if name else {}),
        "Source": source,
        "Destination": destination,
        "Driver": "local" if kind == "volume" else "",
        "Mode": "",
        "Options": kept,
        "RW": "ro" not in options,
        "Propagation": propagation,
        **({"SubPath": subpath} if subpath else {}),
    }


def oci_options(shown: Mapping[str, Any]) -> list[str]:
    """The mount options behind an entry of ``Mounts``."""
    propagation = [shown["Propagation"]] if shown["Propagation"] else []
    return [*shown["Options"], *propagation, "rw" if shown["RW"] else "ro"]
