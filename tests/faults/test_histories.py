"""Four users of one store at once: whatever each was told, there is an order of their commands that explains it all."""

from __future__ import annotations

import random
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.cli import Cli, new_cli
from tests.support.figures import Tell, amount

pytestmark = [pytest.mark.needs("userns", "subuid", "newuidmap", "busybox"), pytest.mark.timeout(7200)]
PROCESSES = 4
EACH = 4
HISTORIES = amount(12, 625)
# The names begin no id.
NAMES, TAGS, VOLUMES = ("m", "n"), ("localhost/x:1", "localhost/y:1"), ("v",)


class State(NamedTuple):
    """What a store holds: (name, image) of each container, the tags and the volumes."""

    containers: frozenset[tuple[str, str]]
    tags: frozenset[str]
    volumes: frozenset[str]

    def holder(self, name: str) -> tuple[str, str] | None:
        """The container with a name."""
        return next((one for one in self.containers if one[0] == name), None)


class Done(NamedTuple):
    """One command, when it began and ended, and its exit code."""

    words: tuple[str, ...]
    began: float
    ended: float
    code: int


def after(state: State, words: tuple[str, ...]) -> tuple[int, State]:
    """What the command ends with where nobody else is at work, and what is there then."""
    verb, *rest = words
    if verb == "create":
        name, tag = rest[2], rest[3]
        if state.holder(name) or tag not in state.tags:
            return 125, state
        return 0, state._replace(containers=state.containers | {(name, tag)})
    if verb == "rm":
        held = state.holder(rest[0])
        return (0, state._replace(containers=state.containers - {held})) if held else (1, state)
    if verb == "rename":
        held = state.holder(rest[0])
        if held is None or state.holder(rest[1]):
            return 125, state
        return 0, state._replace(containers=state.containers - {held} | {(rest[1], held[1])})
    if verb == "tag":
        return 0, state._replace(tags=state.tags | {rest[1]})
    if verb == "untag":
        tag = rest[1]
        return (0, state._replace(tags=state.tags - {tag})) if tag in state.tags else (125, state)
    if verb == "container":
        return (0 if state.holder(rest[1]) else 1), state
    if verb == "image":
        return (0 if rest[1] in state.tags else 1), state
    there = rest[1] in state.volumes
    if rest[0] == "create":
        return (125, state) if there else (0, state._replace(volumes=state.volumes | {rest[1]}))
    if rest[0] == "rm":
        return (0, state._replace(volumes=state.volumes - {rest[1]})) if there else (1, state)
    return (0 if there else 1), state


def commands(dice: random.Random, image: str) -> list[tuple[str, ...]]:
    """What one of the processes does."""

    def one() -> tuple[str, ...]:
        name, tag, volume = dice.choice(NAMES), dice.choice(TAGS), dice.choice(VOLUMES)
        create = ("create", "--pull=never", "--name", name, tag)
        return dice.choice((
            create, create, ("rm", name), ("rename", *NAMES), ("rename", *reversed(NAMES)),
            ("tag", image, tag), ("untag", image, tag), ("container", "exists", name),
            ("image", "exists", tag), ("volume", "create", volume), ("volume", "rm", volume),
            ("volume", "exists", volume),
        ))  # fmt: skip

    return [one() for _ in range(EACH)]


def explained(begin: State, histories: list[list[Done]], end: State) -> bool:
    """Whether some order of the commands, in which none comes before one that had ended when it began, gives each the
    exit code that it had, and leaves what is there in the end (linearizability)."""
    seen: set[tuple[tuple[int, ...], State]] = set()
    todo = [((0,) * len(histories), begin)]
    while todo:
        places, state = todo.pop()
        if (places, state) in seen:
            continue
        seen.add((places, state))
        waiting = [history[place] for history, place in zip(histories, places, strict=True) if place < len(history)]
        if not waiting and state == end:
            return True
        first = min((one.ended for one in waiting), default=0.0)
        for number, place in enumerate(places):
            if place < len(histories[number]) and histories[number][place].began <= first:
                done = histories[number][place]
                code, then = after(state, done.words)
                if code == done.code or (done.code == 0 and twice(done, histories)):
                    todo.append((places[:number] + (place + 1,) + places[number + 1 :], then))
    return False


def twice(done: Done, histories: list[list[Done]]) -> bool:
    """Whether it is a renaming which another process asked for at the same time: both found the container by its old
    name, and what both want is so in the end."""
    others = [one for history in histories for one in history if one is not done and one.words == done.words]
    return done.words[0] == "rename" and any(one.began < done.ended and done.began < one.ended for one in others)


def look(cli: Cli) -> State:
    """What is really there."""
    rows = [row.split("|") for row in cli.ok("ps", "-a", "--format", "{{.Names}}|{{.Image}}").splitlines()]
    tags = cli.ok("images", "--format", "{{.Repository}}:{{.Tag}}").split()
    return State(
        frozenset((name, image) for name, image in rows),
        frozenset(tag for tag in tags if tag in TAGS),
        frozenset(cli.ok("volume", "ls", "-q").split()),
    )


def play(cli: Cli, lists: list[list[tuple[str, ...]]]) -> list[list[Done]]:
    """Each list of commands by a thread of its own, all at once."""
    told: list[list[Done]] = [[] for _ in lists]

    def one(number: int) -> None:
        for words in lists[number]:
            began = time.monotonic()
            done = subprocess.run(
                cli.command(*words), env=cli.environment, capture_output=True, text=True, check=False, timeout=300
            )
            assert "Traceback" not in done.stderr, done.stderr
            told[number].append(Done(words, began, time.monotonic(), done.returncode))

    threads = [threading.Thread(target=one, args=(number,)) for number in range(len(lists))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return told


@pytest.fixture
def filled(busybox_layout: Path) -> Iterator[tuple[Cli, str]]:
    """A store with an image that has a name nobody takes away."""
    with new_cli() as cli:
        image = cli.ok("pull", "--quiet", f"oci:{busybox_layout}:latest").strip()
        cli.ok("tag", image, "localhost/kept:1")
        yield cli, image


def test_histories(filled: tuple[Cli, str], figure: Tell) -> None:
    cli, image = filled
    dice = random.Random(4)
    odd: list[object] = []
    state = look(cli)
    for _ in range(HISTORIES):
        told = play(cli, [commands(dice, image) for _ in range(PROCESSES)])
        end = look(cli)
        if not explained(state, told, end):
            odd.append((state, told, end))
        state = end
    print(*odd, sep="\n")
    figure("histories of 4 processes that no order of their commands explains", "= 0", len(odd), of=HISTORIES)
    assert cli.ok("system", "check") == ""


def test_the_model_itself() -> None:
    nothing = State(frozenset(), frozenset({"localhost/x:1"}), frozenset())
    create = ("create", "--pull=never", "--name", "m", "localhost/x:1")
    one = nothing._replace(containers=frozenset({("m", "localhost/x:1")}))
    assert explained(nothing, [[Done(create, 0, 2, 0)], [Done(create, 1, 3, 125)]], one)
    assert not explained(nothing, [[Done(create, 0, 2, 0)], [Done(create, 1, 3, 0)]], one)
    assert not explained(nothing, [[Done(("rm", "m"), 0, 1, 0)], [Done(create, 2, 3, 0)]], nothing)
