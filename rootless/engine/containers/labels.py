"""What the security modules are asked to make of a container: the AppArmor profile, the SELinux labels.

What the user asked for by name is had or refused. Nothing asked: the default profile where it is loaded, a label where
the policy has one for containers, else the container goes without.
"""

from __future__ import annotations

import os

from rootless.errors import RootlessError
from rootless.security import apparmor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from rootless.engine.containers.container import Container
    from rootless.engine.context import Engine

WITHOUT_CONTEXT = ("fuse-overlayfs", "copy")
"""The storage drivers that cannot label the files of a container."""


def profile(record: Mapping[str, Any]) -> tuple[str, str]:
    """The AppArmor profile of a container, and why that one. Raises RootlessError for one that cannot be had."""
    asked = (record["security"] or {}).get("apparmor", "")
    if asked:
        return apparmor.require(asked) or apparmor.UNCONFINED, f"--security-opt apparmor={asked}"
    for flag in ("privileged", "nested"):
        if record["options"].get(flag):
            return "", f"--{flag}"
    return apparmor.default()


def choose(engine: Engine, record: dict[str, Any], *, kept: bool = True) -> None:
    """Choose the SELinux labels of a new container and put them into its record as ``selinux``: [processes, files].

    Nothing is put there where it gets none. ``kept``: the record is in the store. Raises RootlessError for labels that
    were asked for and cannot be had.
    """
    from rootless.security import selinux

    asked = {part: value for part, value in (record["security"] or {}).get("label", {}).items() if value}
    why = "" if selinux.enabled() else "this machine has no SELinux"
    why = why or unlabelled(record)
    if why and not asked:
        return
    if not why:
        # Two containers that are made at the same time must not choose the same categories.
        from storage.locks import Lock

        with Lock(f"{engine.store.layout.run_locks}/categories"):
            taken = {selinux.level_of(other["selinux"][0]) for _, other in _others(engine, record["id"])}
            process, files = selinux.labels(asked, selinux.level(record["id"], taken))
            if process and selinux.valid(process) and selinux.valid(files):
                record["selinux"] = [process, files]
                if kept:
                    engine.store.containers.save(record["id"], record, False)
                return
        if not asked:
            return
        why = f"the policy does not know {process}" if process else "the policy has no label for containers"
    part, value = next(iter(asked.items()))
    hint = f"leave --security-opt label={part}:{value} out"
    raise RootlessError(f"cannot apply the SELinux label {part}:{value}: {why}", hint)


def unlabelled(record: Mapping[str, Any]) -> str:
    """Why a container has no label of its own although the machine could give it one; empty if it has one."""
    options = record.get("options", {})
    if "disable" in (record.get("security") or {}).get("label", {}):
        return "--security-opt label=disable"
    if options.get("privileged"):
        return "--privileged"
    for namespace in ("pid", "ipc"):
        if options.get(namespace) == "host":
            return f"--{namespace}=host"
    if record.get("driver") in WITHOUT_CONTEXT:
        return f"the storage driver {record['driver']} cannot label the files of a container"
    return ""


def _others(engine: Engine, container_id: str) -> list[tuple[str, dict[str, Any]]]:
    found = engine.store.containers.list()
    return [(other, record) for other, record in found if other != container_id and record.get("selinux")]


def apply(container: Container) -> None:
    """Write profile and labels into the container's Spec, and label the files that the engine makes for it.

    Raises RootlessError where what was asked for cannot be had.
    """
    process, linux, record = container.spec["process"], container.spec["linux"], container.record
    found = {"apparmorProfile": profile(record)[0], "selinuxLabel": ""}
    linux.pop("mountLabel", None)
    if record.get("selinux"):
        from rootless.security import selinux

        wanted = any((record["security"] or {}).get("label", {}).values())
        # A machine that was started without SELinux since the container was made.
        if wanted or selinux.enabled():
            found["selinuxLabel"], linux["mountLabel"] = record["selinux"]
            selinux.require(found["selinuxLabel"])
            selinux.relabel(f"{container.directory}/files", linux["mountLabel"])
    for key, value in found.items():
        process.pop(key, None)
        if value:
            process[key] = value


def refresh(container: Container) -> None:
    """Before a further start: what the machine gives may have changed since the last, and exec reads the Spec."""
    before = _labels_of(container)
    apply(container)
    if _labels_of(container) != before:
        container.write(durable=True)


def _labels_of(container: Container) -> list[str]:
    process, linux = container.spec["process"], container.spec["linux"]
    return [process.get("apparmorProfile", ""), process.get("selinuxLabel", ""), linux.get("mountLabel", "")]


def relabel(engine: Engine, record: Mapping[str, Any], source: str, how: str) -> None:
    """The options z (``shared``) and Z (``private``) of a volume: its files get the label of the container's.

    Nothing happens on a machine without SELinux, and for a container without labels, as with podman.
    """
    if not record.get("selinux"):
        return
    from rootless.security import selinux

    selinux.check_relabel(os.path.realpath(source), os.path.realpath(os.path.expanduser("~")))
    label = record["selinux"][1]
    if how == "shared":
        label = selinux.shared(label)

    def change() -> bytes:
        selinux.relabel(source, label)
        return b""

    try:
        # Files of subordinate ids are relabelled by the root of their user namespace.
        engine.in_userns(change)
    except OSError as error:
        hint = "leave z and Z out, or name a directory whose files are your own"
        raise RootlessError(f"cannot relabel {source} for SELinux: {error.strerror}", hint) from None
