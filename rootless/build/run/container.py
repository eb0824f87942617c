"""The container of one RUN: no record, no name, all of it in the stage's directory, gone when the step is done."""

from __future__ import annotations

import os
import select
from typing import TYPE_CHECKING, Any

from rootless import network as networks
from rootless.engine.containers import cgroup, create, labels, user_mounts
from rootless.engine.containers.plan import compile_plan
from rootless.engine.containers.process import user_text
from rootless.engine.containers.record import describe
from rootless.engine.containers.rootfs import Source
from rootless.errors import RootlessError
from rootless.init import keeper, wire
from rootless.runtime import launch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rootless.build.job import Job
    from rootless.build.state import State
    from rootless.engine.containers.container import Container
    from rootless.engine.options.run import RunOptions
    from rootless.engine.options.volume import UserMount
    from rootless.init.ops import Operation
    from rootless.network import Network
    from rootless.network.helper import NetworkHandle
    from rootless.runtime.launch import Process

_CHUNK = 1 << 16
_OF_COMMAND = ("Env", "User", "WorkingDir")


def make(
    job: Job,
    state: State,
    options: RunOptions,
    arguments: Sequence[str],
    variables: Mapping[str, str],
    volumes: Sequence[UserMount],
    directory: str,
) -> tuple[Container, Network]:
    """Make a container on the layers of ``state`` in ``directory``. Raises RootlessError, StorageError.

    ``variables`` are ARGs, which those of the image hide; ``volumes`` come with those of the command line.
    """
    engine = job.engine
    settings = state.settings
    config: dict[str, Any] = {key: settings[key] for key in _OF_COMMAND if settings.get(key)}
    config["Env"] = [*(f"{key}={value}" for key, value in variables.items()), *(settings.get("Env") or ())]
    source = Source("", None)
    source.config = config
    record = describe(engine, options, source, arguments, engine.idmap)
    record["id"] = os.urandom(32).hex()
    record["name"] = ""
    record["driver"] = engine.driver.name
    record["layers"] = state.diff_ids
    record["run_as"] = user_text(options, config, "")
    network = networks.choose(options.network)
    if network.why:
        engine.tell(f"The container has no way to the network: {network.why}")
    labelled = create.is_labelled(options)
    if labelled:
        labels.choose(engine, record, kept=False)
    mounts = user_mounts.resolve(engine, [*options.mounts, *volumes], directory, False, [])
    if mounts.chown:
        raise RootlessError("cannot use the volume option U in a build", "give the directory to its user before")
    rootfs = engine.driver.prepare(directory, engine.layers.paths(state.diff_ids), ephemeral=True)
    container = create.assemble(
        options, config, arguments, record, engine.idmap, network, mounts, directory, rootfs
    )
    if job.values.get("no_hostname"):
        kept = [mount for mount in container.spec["mounts"] if mount["destination"] != "/etc/hostname"]
        container.spec["mounts"] = kept
    if labelled:
        labels.apply(container)
        for path, how in mounts.relabel:
            labels.relabel(engine, record, path, how)
    return container, network


def run(
    job: Job,
    container: Container,
    network: Network,
    operations: Sequence[Operation],
    look: Callable[[], None],
) -> int:
    """Run the container's command to its end; its exit code. What it prints goes to ``job.write``.

    ``operations`` are done after those of the Spec. ``look`` is called when everything is mounted and the command does
    not run yet. Raises RootlessError when it cannot be started.
    """
    engine = job.engine
    handles: list[NetworkHandle] = []

    def attach(pid: int) -> None:
        handle = networks.attach(network, pid)
        if handle is not None:
            handles.append(handle)

    control = cgroup.prepare(engine, container, supervise=False)
    try:
        plan = compile_plan(engine, container, control)
        plan.operations += operations
        if plan.keeper:
            gate = f"{container.directory}/gate"  # at which nobody will come: no process joins this container
            os.mkdir(gate, 0o700)
            plan.keeper.gate = wire.listen(gate, keeper.SOCKET)
        null = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        reader, writer = os.pipe()
        try:
            try:
                process = launch.create(plan, (null, writer, writer), attach, place=control.place)
            finally:
                os.close(null)
                os.close(writer)
            try:
                for handle in handles:
                    handle.wait_ready()
                look()
                process.start()
                _follow(process, reader, job.write)
                return process.wait()
            except BaseException:
                process.close()
                raise
        finally:
            os.close(reader)
    finally:
        for handle in handles:
            handle.close()
        control.remove()


def _follow(process: Process, reader: int, write: Callable[[bytes], None]) -> None:
    """Hand on what the command prints, until nobody is left who could print."""
    poll = select.poll()
    for fd in (reader, process.fileno()):
        poll.register(fd, select.POLLIN)
    while True:
        ready = [fd for fd, _ in poll.poll()]
        # What had been printed by the end of the container is in the pipe by then.
        if reader not in ready or not (data := os.read(reader, _CHUNK)):
            return
        write(data)
