"""Making a container: image, id map, record and name, mounts, root file system, generated files, Spec."""

from __future__ import annotations

import os

from rootless import network as networks
from rootless.engine.containers import cgroup, files, spec_builder, user_mounts
from rootless.engine.containers import idmap as ids
from rootless.engine.containers.container import Container
from rootless.engine.containers.mounts import device_mounts
from rootless.engine.containers.process import user_text
from rootless.engine.containers.record import describe
from rootless.engine.containers.rootfs import directory_root, find_source, image_root
from rootless.engine.events import note
from rootless.engine.options.run import RunOptions
from rootless.errors import RootlessError
from storage.errors import NameInUseError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from rootless.engine.containers.rootfs import Source
    from rootless.engine.containers.user_mounts import Resolved
    from rootless.engine.context import Engine
    from rootless.engine.options.volume import UserMount
    from rootless.idmaps import IdMap
    from rootless.network import Network
    from storage.drivers.base import RootfsMount
    from storage.locks import Lock

SECURITY_MODULES = ("/sys/module/apparmor", "/sys/fs/selinux")
"""One of them is there where the kernel has AppArmor or SELinux."""


def with_defaults(engine: Engine, values: Mapping[str, Any]) -> dict[str, Any]:
    """The command line's values over those of the configuration; repeatable flags add to it."""
    config = engine.config
    if not config.flags and not config.hardened:
        return dict(values)
    merged = dict(config.flags)
    for key, value in values.items():
        merged[key] = merged[key] + value if isinstance(value, list) and isinstance(merged.get(key), list) else value
    merged.setdefault("hardened", config.hardened)
    return merged


def prepare(
    engine: Engine,
    values: Mapping[str, Any],
    image_name: str,
    arguments: Sequence[str],
    *,
    durable: bool,
) -> tuple[Container, Network, Lock]:
    """Make a container and everything it needs to be started. On failure everything made is taken away again.

    The container's lock comes held, so that nobody prunes it; its Spec is not written yet. ``durable`` is false for
    a container that is removed when it ends: nothing of it is synced to disk.
    """
    values = with_defaults(engine, values)
    options = RunOptions(values)
    if options.cidfile and os.path.lexists(options.cidfile):
        hint = "remove the file, or choose another name"
        raise RootlessError(f"cannot create the container: the container ID file {options.cidfile} exists", hint)
    if options.strict or options.require:
        from rootless.engine.containers import requirements

        requirements.check(engine, options, image_name)
    if any(section != "pids" for section in options.resources):
        cgroup.check(engine, {"cgroups": options.cgroups, "cgroup_parent": options.cgroup_parent}, options.resources)
    source = find_source(engine, options, values, image_name)
    idmap = ids.container_map(options.userns, engine.idmap, _automatic_maps(engine, options))
    record = describe(engine, options, source, arguments, idmap)
    record["run_as"] = user_text(options, source.config, _keep_id_user(options))
    network = networks.choose(options.network, record["ports"])
    record["network_helper"], record["network_why"] = network.kind, network.why
    if network.why:
        engine.tell(f"The container has no way to the network: {network.why}")
    if record["ports"] and not network.helper:
        engine.tell("Port mappings have been discarded: the container shares the network of the host")
    wanted = user_mounts.wanted_mounts(engine, options, source.config.get("Volumes") or ())
    if options.replace:
        _replace(engine, options)
    container_id = _claim(engine, options, record, durable)
    lock = engine.store.containers.lock(container_id)
    created: list[str] = []
    try:
        lock.acquire()
        container = _furnish(engine, options, source, arguments, record, idmap, network, wanted, created, durable)
        if options.cidfile:
            _write_cidfile(options.cidfile, container_id)
    except BaseException:
        undo(engine, container_id, created)
        lock.release()
        raise
    note(engine, "container", "create", container_id, record)
    return container, network, lock


def _furnish(
    engine: Engine,
    options: RunOptions,
    source: Source,
    arguments: Sequence[str],
    record: dict[str, Any],
    idmap: IdMap,
    network: Network,
    wanted: Sequence[UserMount],
    created: list[str],
    durable: bool,
) -> Container:
    """Fill the directory of a container that has its name: root file system, volumes, files. Its Spec is for later."""
    container_id: str = record["id"]
    directory = engine.store.containers.path(container_id)
    labelled = is_labelled(options)
    if labelled:
        from rootless.engine.containers import labels

        labels.choose(engine, record)
    mounts = user_mounts.resolve(engine, wanted, directory, durable, created)
    rootfs = _root_file_system(engine, options, source, directory, idmap)
    container = assemble(options, source.config, arguments, record, idmap, network, mounts, directory, rootfs)
    if labelled:
        labels.apply(container)
        for path, how in mounts.relabel:
            labels.relabel(engine, record, path, how)
    if mounts.chown:
        from rootless.engine.containers.chown import give

        give(engine, container, source.image, mounts.chown)
    if wanted:
        record["mounts"] = mounts.shown
        record["anonymous"] = mounts.anonymous
        engine.store.containers.save(container_id, record, durable)
    return container


def assemble(
    options: RunOptions,
    config: Mapping[str, Any],
    arguments: Sequence[str],
    record: dict[str, Any],
    idmap: IdMap,
    network: Network,
    mounts: Resolved,
    directory: str,
    rootfs: RootfsMount,
) -> Container:
    """A container whose record, mounts and root file system are there: its generated files and its Spec are made."""
    hostname = spec_builder.host_name(options, record["id"], os.uname().nodename)
    taken = {mount["destination"] for mount in mounts.mounts}
    spec, extras = spec_builder.build(
        options,
        config,
        arguments,
        spec_builder.Facts(
            idmap=idmap,
            environ=os.environ,
            hostname=hostname,
            rootfs=rootfs["merged"],
            files=files.write(directory, record, hostname, network, taken),
            mounts=mounts.mounts,
            devices=_devices(options),
            keep_id_user=_keep_id_user(options),
        ),
    )
    account = _keep_id_account(options)
    if account:
        extras["account"] = account
    extras["copy_up"] = mounts.copy_up
    extras["files_dir"] = f"{directory}/files"
    return Container(record["id"], directory, record, spec, extras, rootfs, idmap)


def is_labelled(options: RunOptions) -> bool:
    """Whether there is anything to do for a security module: most machines have AppArmor or SELinux, or neither."""
    return options.security is not None or any(os.path.exists(path) for path in SECURITY_MODULES)


def undo(engine: Engine, container_id: str, volumes: Sequence[str]) -> None:
    """Take away a container that could not be made, and the volumes made for it."""
    engine.store.containers.remove(container_id, engine.delete_tree)
    if volumes:
        from rootless.engine.containers.volumes import forget

        forget(engine, volumes)


def _claim(engine: Engine, options: RunOptions, record: dict[str, Any], durable: bool) -> str:
    """Make the record and take the name, also from a ``--rm`` container that its killed starter left."""
    containers = engine.store.containers
    try:
        return containers.create(record, options.name or None, durable)
    except NameInUseError:
        from rootless.engine.containers.removal import sweep

        if not sweep(engine):
            raise
    return containers.create(record, options.name or None, durable)


def _replace(engine: Engine, options: RunOptions) -> None:
    if not options.name:
        raise RootlessError("cannot replace a container without --name", "name the one to replace with --name")
    from rootless.engine.containers.removal import remove

    remove(engine, [options.name], {"force": True})


def _automatic_maps(engine: Engine, options: RunOptions) -> list[list[tuple[int, int, int]]]:
    """The uid maps of other containers that were made with --userns=auto."""
    if options.userns is None or options.userns.mode != "auto":
        return []
    from rootless.engine.containers.container import read_json

    found = []
    for container_id, record in engine.store.containers.list():
        if record.get("userns") == "auto":
            try:
                spec = read_json(engine.store.layout.container_spec(container_id), container_id)
            except RootlessError:
                continue
            rows = spec["linux"]["uidMappings"]
            found.append([(row["containerID"], row["hostID"], row["size"]) for row in rows])
    return found


def _root_file_system(
    engine: Engine, options: RunOptions, source: Source, directory: str, idmap: IdMap
) -> RootfsMount:
    if source.image is None:
        return directory_root(engine, source.directory, directory, idmap, source.overlay)
    return image_root(engine, source.image, directory, idmap, ephemeral=options.rm)


def _devices(options: RunOptions) -> list[Any]:
    devices = list(options.devices)
    if options.nested:
        from rootless.engine.options.device import nested_devices

        taken = {device["destination"] for device in devices}
        devices += [device for device in nested_devices() if device["destination"] not in taken]
    if options.privileged:
        from rootless.engine.options.device import privileged_devices

        taken = {device["destination"] for device in devices}
        devices += [device for device in privileged_devices() if device["destination"] not in taken]
    return device_mounts(devices)


def _keep_id_user(options: RunOptions) -> str:
    userns = options.userns
    if userns is None or userns.mode != "keep-id":
        return ""
    uid = os.getuid() if userns.uid is None else userns.uid
    gid = os.getgid() if userns.gid is None else userns.gid
    return f"{uid}:{gid}"


def _keep_id_account(options: RunOptions) -> list[Any]:
    """Name, user and group id of the caller in the container, with keep-id: it is known there by its name, as podman
    has it. Empty otherwise, and for a caller without a name that passwd(5) can hold."""
    numbers = _keep_id_user(options).split(":")
    if len(numbers) != 2 or not options.passwd:
        return []
    import pwd

    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return []
    return [name, int(numbers[0]), int(numbers[1])] if name.isprintable() and ":" not in name else []


def _write_cidfile(path: str, container_id: str) -> None:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            os.write(fd, container_id.encode())
        finally:
            os.close(fd)
    except OSError as error:
        raise RootlessError(f"cannot write the container ID file {path}: {error.strerror}") from None


def create(engine: Engine, values: Mapping[str, Any], image_name: str, arguments: Sequence[str]) -> str:
    """Make a container without starting it; its id."""
    container, _, lock = prepare(engine, values, image_name, arguments, durable=True)
    with lock:
        try:
            container.write(durable=True)
        except BaseException:
            undo(engine, container.id, container.record["anonymous"])
            raise
    return container.id
