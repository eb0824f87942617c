"""One stage, from its base to its last instruction: a state after each step, done or found in the cache."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from rootless.build import layers
from rootless.build.cache import key_of
from rootless.build.output import configuration
from rootless.build.variables import Arguments
from rootless.containerfile import model
from rootless.containerfile.configure import configure, directory_below, variables_of
from rootless.containerfile.expansion import Expander
from rootless.containerfile.origin import ContainerfileError
from rootless.containerfile.parse import parse_trigger
from rootless.errors import RootlessError
from storage.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rootless.build.cache import Cache
    from rootless.build.graph import StagePlan
    from rootless.build.job import Job
    from rootless.build.options import BuildOptions
    from rootless.build.state import State
    from rootless.containerfile.model import Instruction
    from rootless.containerfile.origin import Origin
    from rootless.engine.images.layerfile import LayerFile

    Tell = Callable[[dict[str, Any]], None]

_LONGEST = 200  # characters of an instruction in an error
COMMENT = "/bin/sh -c #(nop) "
"""How podman marks, in a history, an instruction that is no command."""


class Stage:
    """Executes the instructions of one stage, in a process of its own.

    ``inherited``: values of ARGs that are declared without one. ``tell`` takes messages for the user: ``step`` (number,
    total, text), ``cached`` and ``made`` (id).
    """

    def __init__(
        self, job: Job, plan: StagePlan, options: BuildOptions, cache: Cache, inherited: Mapping[str, str],
        escape: str, tell: Tell,
    ) -> None:  # fmt: skip
        self._job = job
        self._plan = plan
        self._options = options
        self._cache = cache
        self._escape = escape
        self._tell = tell
        self._arguments = Arguments(options.arguments, inherited)
        self._cmd_is_own = False

    def run(self) -> State:
        """The state after the last instruction. Raises RootlessError, StorageError."""
        steps = list(self._plan.stage.instructions)
        self._announce(1, len(steps) + 1, self._plan.stage.origin.text)
        try:
            base = self._job.find(self._plan.base)
        except (RootlessError, StorageError) as error:
            raise _at(self._plan.stage.origin, error) from error
        state = self._begin(base)
        triggers = state.settings.get("OnBuild") or []
        if triggers:
            state = _with_settings(state, {key: value for key, value in state.settings.items() if key != "OnBuild"})
            steps[:0] = [parse_trigger(text, f"ONBUILD of {self._plan.base}") for text in triggers]
        for number, step in enumerate(steps, 2):
            self._announce(number, len(steps) + 1, step.origin.text)
            try:
                state = self._step(state, step)
            except (RootlessError, StorageError) as error:
                raise _at(step.origin, error) from error
            self._tell({"kind": "made", "id": identity(state)})
        return state

    def _announce(self, number: int, total: int, text: str) -> None:
        self._tell({"kind": "step", "number": number, "total": total, "text": text})

    def _begin(self, state: State) -> State:
        """The base with what the command line changes of it before the first instruction."""
        settings = dict(state.settings)
        if not self._options.inherits_labels:
            settings.pop("Labels", None)
        for name in self._options.without_labels & (settings.get("Labels") or {}).keys():
            settings["Labels"] = {key: value for key, value in settings["Labels"].items() if key != name}
        return _with_settings(state, settings) if settings != state.settings else state

    def _step(self, state: State, step: Instruction) -> State:
        variables = {**self._arguments.declared, **variables_of(state.settings)}
        step = Expander(variables, self._escape).instruction(step)
        if isinstance(step, model.Arg):
            self._arguments.declare(step.pairs)
            return self._configured(state, step)
        if isinstance(step, model.Run):
            return self._run(state, step)
        if isinstance(step, (model.Copy, model.Add)):
            return self._copy(state, step)
        if isinstance(step, model.Workdir):
            return self._workdir(state, step)
        return self._configured(state, step)

    # Steps that make a layer.

    def _run(self, state: State, step: model.Run) -> State:
        from rootless.build import run

        self._job.arguments = {
            name: value for name, value in self._arguments.for_run().items() if name not in variables_of(state.settings)
        }
        visible = {name: value for name, value in self._arguments.for_key().items() if name in self._job.arguments}
        reads = {**run.reads(self._job, state, step), "arguments": visible}
        shown = " ".join(f"{name}={value}" for name, value in visible.items())
        words = state.settings.get("Shell") or ["/bin/sh", "-c"]
        command = f"{' '.join(words)} {step.script}" if isinstance(step.command, str) else " ".join(step.command)
        history = f"|{len(visible)} {shown} {command}" if visible else command
        return self._layered(state, step, history, reads, lambda: run.run_step(self._job, state, step))

    def _copy(self, state: State, step: model.Copy | model.Add) -> State:
        from rootless.build import copy

        files = copy.digest(self._job, state, step)
        return self._layered(
            state, step, COMMENT + step.origin.text, {"files": files}, lambda: copy.copy_step(self._job, state, step),
            holds=lambda: copy.digest(self._job, state, step) == files,
        )  # fmt: skip

    def _workdir(self, state: State, step: model.Workdir) -> State:
        from rootless.build.workdir import make_directory

        path = directory_below(state.settings, step.path)
        after = state._replace(config=configure(state.config, step, cmd_is_own=self._cmd_is_own))
        return self._layered(
            after, step, COMMENT + step.origin.text, {}, lambda: make_directory(self._job, state, path)
        )

    def _layered(
        self, state: State, step: Instruction, created_by: str, reads: Mapping[str, Any],
        work: Callable[[], LayerFile | None], *, holds: Callable[[], bool] = lambda: True,
    ) -> State:  # fmt: skip
        """The state with the layer that ``work`` makes, if it makes one, or made before.

        ``holds``: whether what the step reads is what it was; else what was made is not kept for the next build.
        """
        key = self._key(state, step, reads)
        found = self._cache.find_layer(key, state)
        if found is not None:
            self._tell({"kind": "cached", "id": identity(found)})
            return found
        file = work()
        entry = {"created": self._options.now(), "created_by": created_by}
        if file is None:
            after = state._replace(history=(*state.history, {**entry, "empty_layer": True}))
        else:
            layer = layers.keep(self._job.engine, file, state.diff_ids)
            after = state._replace(layers=(*state.layers, layer), history=(*state.history, entry))
        if holds():
            self._cache.keep_layer(key, state, after)
        return after

    # Steps that change the configuration alone.

    def _configured(self, state: State, step: Instruction) -> State:
        after = state._replace(config=configure(state.config, step, cmd_is_own=self._cmd_is_own))
        self._cmd_is_own = self._cmd_is_own or isinstance(step, model.Cmd)
        key = self._key(state, step, {})
        found = self._cache.find(key, after)
        if found is not None:
            self._tell({"kind": "cached", "id": identity(found)})
            return found
        entry = {"created": self._options.now(), "created_by": COMMENT + step.origin.text, "empty_layer": True}
        after = after._replace(history=(*state.history, entry))
        self._cache.keep(key, state, after)
        return after

    def _key(self, state: State, step: Instruction, reads: Mapping[str, Any]) -> str:
        text = repr((type(step).__name__, *step[1:]))  # all but where it stands
        return key_of(state, [text, step.origin.text], {**self._options.affecting(), **reads})


def _at(origin: Origin, error: RootlessError | StorageError) -> RootlessError:
    """The error with the step in which it happened, in podman's words, and its line; some show it already."""
    from rootless.build.run import CommandFailed

    if isinstance(error, ContainerfileError):
        return error
    text = origin.text if len(origin.text) <= _LONGEST else origin.text[:_LONGEST] + "…"
    message, code = error.message, error.exit_code
    if isinstance(error, CommandFailed):
        message, code = f"while running runtime: exit status {error.code}", error.code
    found = RootlessError(f'building at STEP "{text}": {message}', error.hint, code)
    found.excerpt = origin.excerpt()
    return found


def identity(state: State) -> str:
    """The id of the image that a state would be, hex."""
    return hashlib.sha256(configuration(state)).hexdigest()


def _with_settings(state: State, settings: Mapping[str, Any]) -> State:
    return state._replace(config={**state.config, "config": settings})
