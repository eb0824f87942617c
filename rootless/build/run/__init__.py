"""The RUN instruction: a command in a container that nobody sees, and the layer that it leaves.

::

    mounts.parse_all ─► sources.Sources ─► container.make, run ─► layer.pack ─► LayerFile
    (--mount texts)     (what is mounted)   (to its end)           (its changes)
"""

from __future__ import annotations

import os
import re
import tempfile
from typing import TYPE_CHECKING, Any

from rootless.build import copy
from rootless.build.run import command, container, layer, mounts, settings
from rootless.build.run.sources import Sources
from rootless.containerfile.model import Copy
from rootless.engine.containers import labels
from rootless.errors import RootlessError
from storage import trees

if TYPE_CHECKING:
    from rootless.build.job import Job
    from rootless.build.state import State
    from rootless.containerfile.model import Run
    from rootless.engine.images.layerfile import LayerFile

_WILDCARDS = re.compile(r"[*?\[\\]")  # of COPY: a mount's source is a path


class CommandFailed(RootlessError):
    """The command ended with ``code``, which is not 0 (128+N for signal N); so does the build, as podman's."""

    def __init__(self, code: int) -> None:
        super().__init__(f"the command exits {code}", exit_code=code)
        self.code = code


def run_step(job: Job, state: State, step: Run) -> LayerFile:
    """Run the command of a step, which is expanded, on ``state``: a layer with what it changed, in ``job.work``.

    Raises CommandFailed, RootlessError, StorageError.
    """
    directory = tempfile.mkdtemp(prefix="run-", dir=job.work)
    try:
        return _run(job, state, step, directory)
    finally:
        trees.empty(directory, job.engine.delete_tree)


def _run(job: Job, state: State, step: Run, directory: str) -> LayerFile:
    options = settings.read(job.engine, job.values, step.network, step.security)
    wanted = mounts.parse_all(step.mounts, state.settings.get("WorkingDir") or "/")
    words = command.of(step, state.settings)
    with Sources(job, directory) as sources:
        sources.add(wanted)
        if words.place:
            sources.program(words.program.encode("utf-8", "surrogateescape"), words.place)
        options.env = [f"{name}={value}" for name, value in sources.variables.items()]
        made, network = container.make(
            job, state, options, words.arguments, job.arguments, sources.volumes, directory
        )
        for operation in sources.operations:
            operation.label = (made.record.get("selinux") or ["", ""])[1]
        for path, how in sources.relabel:
            labels.relabel(job.engine, made.record, path, how)
        places: frozenset[str] = frozenset()

        def look() -> None:
            nonlocal places
            places = layer.made_places(made, sources.targets)

        code = container.run(job, made, network, sources.operations, look)
        if code:
            raise CommandFailed(code)
        return layer.pack(job, made, places, f"{job.work}/layer-{os.urandom(8).hex()}")


def reads(job: Job, state: State, step: Run) -> dict[str, Any]:
    """All that a step depends on beside its text, the state, and ARGs: for the key of the cache, as JSON.

    Secrets, agents and what is in caches are no part of it. Raises RootlessError, StorageError.
    """
    settings.read(job.engine, job.values, step.network, step.security)
    found: dict[str, Any] = {"options": settings.key_part(job.engine, job.values)}
    wanted = mounts.parse_all(step.mounts, state.settings.get("WorkingDir") or "/")
    found["mounts"] = [_holds(job, state, step, mount) for mount in wanted if mount.kind == mounts.BIND]
    return found


def _holds(job: Job, state: State, step: Run, mount: mounts.Mount) -> list[Any]:
    """What a bind mount shows: the layers, where it is of an image, else the digest that COPY has of the same files."""
    if mount.from_ and not job.directory_of(mount.from_):
        return [mount, job.find(mount.from_).diff_ids]
    source = _WILDCARDS.sub(r"\\\g<0>", mount.source) or "."
    return [mount, copy.digest(job, state, Copy(step.origin, (source,), (), "/", from_=mount.from_))]
