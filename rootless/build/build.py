"""``build``: from the command line's values to images.

::

    this process     reads the Containerfile, starts what has become possible, shows progress, makes the image
         ├──fork─→ stage     a worker for each stage that is needed: its steps, one after another
         └──fork─→ stage     … which may fork containers, having no threads; its last message is its state
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from rootless.build import output
from rootless.build.bases import SCRATCH, of_image, scratch
from rootless.build.cache import Cache
from rootless.build.graph import find, needed, plan, target
from rootless.build.inputs import Inputs
from rootless.build.job import Job
from rootless.build.options import BuildOptions
from rootless.build.results import Results
from rootless.build.stage import Stage
from rootless.build.state import BuiltLayer, State
from rootless.build.variables import Arguments, of_platforms
from rootless.containerfile import expand
from rootless.containerfile.expansion import Expander
from rootless.containerfile.parse import parse
from rootless.engine.events import note
from rootless.engine.images.worker import Worker, ready
from rootless.engine.progress import PlainProgress, Progress
from rootless.errors import RootlessError
from storage import gc
from storage.work import WorkDirectory

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rootless.build.graph import StagePlan
    from rootless.build.screen import Screen
    from rootless.containerfile.model import Containerfile
    from rootless.engine.context import Engine
    from rootless.engine.images.worker import Message, Send
    from storage.images import Image


_STAGE_DIGITS = 4  # of a number that can only mean a stage; a longer one may begin an image's id


class Built(NamedTuple):
    """What came of a build: an image for each platform, in their order, and the names of it, or of the list of them."""

    images: list[Image]
    names: list[str]


def build(engine: Engine, values: Mapping[str, Any], context: str, screen: Screen) -> Built:
    """Build what the command line asks for.

    ``context`` is the word for the build context, '' for none. Raises RootlessError, StorageError: then nothing of this
    build is left but the steps that were finished, for the next one.
    """
    options = BuildOptions(values)
    results = Results(values)
    several = len(options.platforms) > 1
    images: list[Image] = []
    try:
        with (
            gc.adding(engine.store.layout),
            WorkDirectory(engine.store.layout) as work,
            Inputs(engine, values, context, work.path) as inputs,
        ):
            file = parse(inputs.containerfile, inputs.name)
            if options.docker and options.annotations:
                screen.note("WARNING: the docker format has no place for annotations: they are left out")
            for platform in options.platforms:
                state = _Build(engine, options, inputs, file, platform, screen).run()
                screen.committing(results.names)
                state = output.finished(engine, state, options, work.path)
                image = output.store(engine, state, options, [] if several else results.names)
                images.append(image)
                results.write(engine, state, image)
            results.finish(engine, images, screen)
    except BaseException:
        gc.sweep(engine.store, engine.delete_tree)
        raise
    finally:
        screen.close()
    for image in images:
        note(engine, "image", "build", image.id, {"name": results.names[0] if results.names else ""})
    return Built(images, results.names)


class _Build:
    """A build for one platform."""

    def __init__(
        self, engine: Engine, options: BuildOptions, inputs: Inputs, file: Containerfile, platform: str, screen: Screen
    ) -> None:
        self._engine = engine
        self._options = options
        self._inputs = inputs
        self._file = file
        self._platform = platform
        self._screen = screen
        remote = None
        if options.values.get("cache_from") or options.values.get("cache_to"):
            from rootless.build.remote_cache import RemoteCache

            remote = RemoteCache(engine, options.values, options)
        self._cache = Cache(engine, reads=options.reads_cache, lifetime=options.lifetime, remote=remote)
        self._states: dict[int, State] = {}
        self._running: dict[Worker, int] = {}
        self._inherited: dict[str, str] = {}

    def run(self) -> State:
        """The state of the target. Raises the error of the first stage that fails, after ending the others."""
        plans = self._plan()
        last = target(plans, self._options.target)
        wanted = needed(plans, last) if self._options.skip_unused else set(range(last + 1))
        several = len(self._options.platforms) > 1
        self._screen.stages([entry.stage.name for entry in plans], self._platform if several else "")
        waiting = sorted(wanted)
        try:
            while waiting or self._running:
                for index in list(waiting):
                    if len(self._running) < self._options.jobs and plans[index].needs <= self._states.keys():
                        waiting.remove(index)
                        self._start(plans[index])
                self._screen.tick()
                for worker in ready(list(self._running), self._screen.interval):
                    messages = worker.receive()
                    for message in messages or ():
                        self._take(self._running[worker], message)
                    if messages is None:
                        self._screen.done(self._running.pop(worker))
        finally:
            for worker in list(self._running):
                worker.kill()
        return self._states[last]

    def _plan(self) -> list[StagePlan]:
        """The stages with their bases known: ARGs before the first FROM are for these alone."""
        platforms = of_platforms(self._platform)
        arguments = Arguments(self._options.arguments, platforms)
        for argument in self._file.global_args:
            step = Expander({**platforms, **arguments.declared}, self._file.escape).instruction(argument)
            arguments.declare(step.pairs)  # type: ignore[union-attr]
        self._inherited = {**platforms, **arguments.declared}
        expander = Expander(self._inherited, self._file.escape)
        words = []
        for stage in self._file.stages:
            try:
                base, platform = expander.word(stage.base), expander.word(stage.platform)
            except expand.ExpansionError as error:
                raise stage.origin.error(str(error), near=stage.base) from None
            if not base:
                hint = "give it a value: --build-arg NAME=VALUE, or ARG NAME=VALUE before the first FROM"
                raise stage.origin.error(f"the image {stage.base!r} is empty", hint, near=stage.base)
            words.append((base, platform))
        if self._options.base:
            words[0] = (self._options.base, words[0][1])
        return plan(self._file.stages, words, self._inputs.is_context)

    def _start(self, entry: StagePlan) -> None:
        self._running[Worker(lambda send: self._stage(entry, send))] = entry.number

    def _stage(self, entry: StagePlan, send: Send) -> None:
        """In the worker: build a stage and send its state."""
        engine = self._engine
        engine.say = lambda line: send({"kind": "note", "text": line.rstrip("\n")})
        engine.show_progress = lambda quiet: Progress() if quiet else PlainProgress(engine.tell)
        platform = entry.platform or self._platform
        with WorkDirectory(engine.store.layout) as work:
            job = Job(
                engine, self._options.values, work=work.path, context=self._inputs.directory, platform=platform,
                find=lambda word: self._find(entry, word, platform), directory_of=self._inputs.directory_of,
                ignored=self._inputs.ignore.excludes, enters=self._inputs.ignore.enters,
                epoch=self._options.epoch, mtime=self._options.mtime,
                write=lambda data: send({"kind": "output", "data": data.decode("latin-1")}),
            )  # fmt: skip
            stage = Stage(job, entry, self._options, self._cache, self._inherited, self._file.escape, send)
            state = stage.run()
        send({"kind": "state", **state._asdict(), "annotations": dict(state.annotations)})

    def _find(self, entry: StagePlan, word: str, platform: str) -> State:
        """What a name means in a stage: a named context, another stage, or an image."""
        image = self._inputs.image_of(word)
        if not image and self._inputs.is_context(word):
            raise RootlessError(f"the context {word} is a directory, and no image")
        if not image:
            index = find(self._file.stages[: entry.number], word, numbers=word != entry.base)
            if index is not None and index not in self._states:  # a trigger of the base asks for it
                raise RootlessError(f"stage {word} is not built before this one")
            if index is not None:
                return self._states[index]
            if word != entry.base and word.isdigit() and len(word) <= _STAGE_DIGITS:
                raise RootlessError(f"there is no stage {word} before this one", "stages are numbered from 0")
            if word == SCRATCH:
                return scratch(platform)
        asked = platform if entry.platform or self._platform else ""
        return of_image(self._engine, image or word, self._options.policy, self._options.values, asked)

    def _take(self, stage: int, message: Message) -> None:
        kind = message["kind"]
        if kind == "state":
            layers = tuple(BuiltLayer(descriptor, diff_id) for descriptor, diff_id in message["layers"])
            history = tuple(message["history"])
            self._states[stage] = State(
                message["config"], layers, history, message["inherited"], message["annotations"]
            )
        elif kind == "step":
            self._screen.step(stage, message["number"], message["total"], message["text"])
        elif kind == "output":
            self._screen.output(stage, message["data"].encode("latin-1"))
        elif kind == "cached":
            self._screen.cached(stage, message["id"])
        elif kind == "made":
            self._screen.made(stage, message["id"])
        elif kind == "note":
            self._screen.note(message["text"])
