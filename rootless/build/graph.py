"""The stages of a build: which needs which, and which are needed at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from rootless.containerfile import model
from rootless.errors import RootlessError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class StagePlan(NamedTuple):
    """A stage with its base and platform expanded; ``needs`` are the stages (by index) that must be done before."""

    stage: model.Stage
    base: str
    platform: str
    needs: frozenset[int]

    @property
    def number(self) -> int:
        """Its place in the file, from 0."""
        return self.stage.number


def plan(
    stages: Sequence[model.Stage], expanded: Sequence[tuple[str, str]], is_context: Callable[[str], bool]
) -> list[StagePlan]:
    """The stages with what each needs; ``expanded`` are base and platform of each. ``is_context``: whether a name is
    that of a context given on the command line, which goes before any other."""
    plans = []
    for stage, (base, platform) in zip(stages, expanded, strict=True):
        needs = {found for word in _words(stage, base) if not is_context(word)
                 and (found := find(stages[: stage.number], word, numbers=word != base)) is not None}  # fmt: skip
        if any("$" in word for word in _words(stage, base)):
            needs.update(range(stage.number))  # a variable tells only when the stage runs
        plans.append(StagePlan(stage, base, platform, frozenset(needs)))
    return plans


def _words(stage: model.Stage, base: str) -> list[str]:
    """The names of other stages, or of images, in a stage."""
    words = [base]
    for step in stage.instructions:
        if isinstance(step, model.Copy) and step.from_:
            words.append(step.from_)
        elif isinstance(step, model.Run):
            words += [value for mount in step.mounts for field in mount.split(",")
                      for key, _, value in (field.partition("="),) if key.strip().lower() == "from"]  # fmt: skip
    return words


def find(stages: Sequence[model.Stage], word: str, *, numbers: bool = True) -> int | None:
    """The index of the stage among ``stages`` that a word names: the last of that name, or with ``numbers`` by number.
    """
    for stage in reversed(stages):
        if stage.name and stage.name == word.lower():
            return stage.number
    if numbers and word.isascii() and word.isdigit() and int(word) < len(stages):
        return int(word)
    return None


def target(plans: Sequence[StagePlan], name: str) -> int:
    """The index of the stage to build: the last unless ``name`` says otherwise. Raises RootlessError."""
    if not name:
        return len(plans) - 1
    found = find([plan.stage for plan in plans], name)
    if found is None:
        named = ", ".join(plan.stage.name for plan in plans if plan.stage.name)
        raise RootlessError(
            f"cannot build the target {name[:80]!r}: there is no such stage",
            f"the stages are {named}" if named else "no stage has a name: FROM IMAGE AS NAME gives one",
        )
    return found


def needed(plans: Sequence[StagePlan], last: int) -> set[int]:
    """The stages that must be built for stage ``last``, with itself."""
    found, waiting = {last}, [last]
    while waiting:
        new = plans[waiting.pop()].needs - found
        found |= new
        waiting += new
    return found
