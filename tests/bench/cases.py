"""What is measured, and the goal of each."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from tests.bench import measure
from tests.bench.measure import Times
from tests.bench.programs import IMAGE, Program
from tests.support import images
from tests.support.cli import new_cli
from tests.support.registry import Registry

LISTED = 20  # containers and images in the store that `ps` and `images` list
BATCH = 32  # parallel runs
CROWD = 500  # images and containers of the full store
# Packages that make the pulled image one of more than 10,000 files and 400 MB.
PACKAGES = ("gcc", "git", "libc6-dev", "perl", "python3", "vim-runtime")
SPLITS = (("usr/share",), ("usr/lib",), ("usr/bin", "usr/sbin"), ("var",), (".",))


class Goal(NamedTuple):
    """The most that a figure may be, and what is aimed at."""

    most: float
    aim: float


class Bench(NamedTuple):
    """What the cases work with: the two programs, a scratch directory, how often each is timed."""

    peer: Program
    own: Program
    work: Path
    rounds: int


def commands_in_turn(bench: Bench, *arguments: str, before_each: Callable[[], None] = lambda: None) -> Times:
    """Time the same command of both programs."""
    return measure.in_turn(
        lambda: bench.peer.run(*arguments), lambda: bench.own.run(*arguments), bench.rounds, before_each=before_each
    )


def run_without_network(bench: Bench) -> Times:
    """A start with nothing but the start."""
    return commands_in_turn(bench, "run", "--rm", "--network", "none", IMAGE, "/bin/true")


def run_with_network(bench: Bench) -> Times:
    """A start as it is typed."""
    return commands_in_turn(bench, "run", "--rm", IMAGE, "/bin/true")


def fill(program: Program, layout: Path, count: int) -> None:
    """Take ``count`` images into the store and make as many containers."""
    for number in range(count):
        program.add_image(layout, f"{number}")
    for number in range(count):
        program.run("create", "--name", f"c{number}", "--network", "none", IMAGE, "/bin/true")


def many_images(target: Path, count: int) -> Path:
    """An OCI image layout of ``count`` images of one layer, tags 0, 1, 2, …"""
    layout = images.Layout(target)
    layer = layout.add_layer(images.busybox_tar())
    for number in range(count):
        layout.add_image(f"{number}", [layer], {"Cmd": ["sh"], "Labels": {"number": str(number)}})
    return target


def list_containers(bench: Bench) -> Times:
    """``ps`` of the store that :func:`fill_both` made."""
    return commands_in_turn(bench, "ps", "--all")


def list_images(bench: Bench) -> Times:
    """``images`` of the store that :func:`fill_both` made."""
    return commands_in_turn(bench, "images")


def fill_both(bench: Bench) -> None:
    """20 containers and 20 images for each program."""
    layout = many_images(bench.work / "listed", LISTED)
    for program in (bench.peer, bench.own):
        fill(program, layout, LISTED)


def run_batch(bench: Bench) -> Times:
    """Many starts at once, until the last has ended."""
    arguments = ("run", "--rm", "--network", "none", IMAGE, "/bin/true")

    def batch(program: Program) -> Callable[[], None]:
        return lambda: measure.parallel(program.command(*arguments), program.environment, BATCH)

    return measure.in_turn(batch(bench.peer), batch(bench.own), max(3, bench.rounds // 4))


def pull(bench: Bench, registry: Registry) -> Times:
    """A whole pull, download and unpacking, into an empty store.

    Each pull has a store of its own: after a deletion ext4 frees blocks for a while, in which creating files and, far
    more, putting them on disk is slow, and this program alone puts a layer on disk before it counts as there.
    """
    reference = push_debian(registry)
    stores = (str(bench.work / f"pulled-{number}") for number in itertools.count())

    def into_empty_store(program: Program) -> None:
        store = next(stores)
        program.run(
            "--root", f"{store}/root", "--runroot", f"{store}/run", "pull", "--quiet", "--tls-verify=false", reference
        )

    return measure.in_turn(
        lambda: into_empty_store(bench.peer),
        lambda: into_empty_store(bench.own),
        max(5, bench.rounds // 4),
        before_each=os.sync,
    )


def push(bench: Bench, registry: Registry) -> Times:
    """A whole push of the Debian of five layers, each to an empty registry of its own."""
    reference = push_debian(registry)
    for program in (bench.peer, bench.own):
        program.run("pull", "--quiet", "--tls-verify=false", reference)
    with ExitStack() as stack:
        running: list[Registry] = []
        numbers = itertools.count()

        def start_registry() -> None:
            running.append(stack.enter_context(Registry(bench.work / f"pushed-{next(numbers)}")))
            os.sync()

        def to_empty_registry(program: Program) -> None:
            place = f"docker://{running[-1].address}/bench/debian"
            program.run("push", "--quiet", "--tls-verify=false", reference, place)

        return measure.in_turn(
            lambda: to_empty_registry(bench.peer),
            lambda: to_empty_registry(bench.own),
            max(3, bench.rounds // 8),
            before_each=start_registry,
        )


def push_debian(registry: Registry) -> str:
    """Push the Debian of five layers (made once, then cached); its reference."""
    layout = images.debian_layout("debian-bench", include=PACKAGES, splits=SPLITS)
    return registry.push(layout, "bench/debian")


SAVED = "localhost/debian:latest"
"""The large image in both stores, for the cases that save it and make containers of it."""


def _with_debian(bench: Bench) -> None:
    layout = images.debian_layout("debian-bench", include=PACKAGES, splits=SPLITS)
    copied = bench.work / "debian"  # podman reads no path with a dot in it
    if not copied.exists():
        copied.symlink_to(layout)
        for program in (bench.peer, bench.own):
            program.add_image(copied, "latest", SAVED)


def save_and_load(bench: Bench) -> Times:
    """``save`` of the large image to a file, as it is typed, and ``load`` of that into an empty store."""
    _with_debian(bench)
    numbers = itertools.count()

    def move(program: Program) -> None:
        place = bench.work / f"moved-{next(numbers)}"
        archive = f"{place}.tar"
        program.run("save", "--quiet", "--output", archive, SAVED)
        program.run("--root", f"{place}/root", "--runroot", f"{place}/run", "load", "--quiet", "--input", archive)
        os.unlink(archive)

    return measure.in_turn(
        lambda: move(bench.peer), lambda: move(bench.own), max(5, bench.rounds // 4), before_each=os.sync
    )


def commit_of_one_file(bench: Bench) -> Times:
    """``commit`` of a container of the large image in which one file was changed, another each time."""
    _with_debian(bench)
    changed = bench.work / "changed"
    for program in (bench.peer, bench.own):
        program.run("create", "--name", "changing", "--network", "none", SAVED, "/bin/true")

    def change() -> None:
        changed.write_bytes(os.urandom(10_000))
        for program in (bench.peer, bench.own):
            program.run("cp", str(changed), "changing:/etc/changed")
        os.sync()

    try:
        return commands_in_turn(bench, "commit", "--quiet", "changing", before_each=change)
    finally:
        for program in (bench.peer, bench.own):
            program.run("rm", "changing")


def crowded_run(bench: Bench) -> Times:
    """This program alone: a start in a store of 500 images and 500 containers (own) and in an empty one (peer)."""
    layout = many_images(bench.work / "crowd", CROWD)
    busybox = images.busybox_layout(bench.work / "one")
    arguments = ("run", "--rm", "--network", "none", IMAGE, "/bin/true")
    with new_cli() as empty, new_cli() as full:
        programs = [Program("rootless", bench.own.prefix, cli.home) for cli in (empty, full)]
        for program in programs:
            program.add_image(busybox, "latest", IMAGE)
        fill(programs[1], layout, CROWD)
        return measure.in_turn(
            lambda: programs[0].run(*arguments), lambda: programs[1].run(*arguments), bench.rounds, warm_up=2
        )


def memory_of_run(bench: Bench) -> float:
    """MiB of the largest process of a ``run``."""
    command = bench.own.command("run", "--rm", IMAGE, "/bin/true")
    return measure.peak_memory(command, bench.own.environment)


def memory_of_pull(bench: Bench, registry: Registry) -> float:
    """MiB of the largest process of a ``pull``."""
    reference = push_debian(registry)
    if reference.rpartition(":")[0] in bench.own.output("images", "--format", "{{.Repository}}"):
        bench.own.run("rmi", "--force", reference)
    command = bench.own.command("pull", "--quiet", "--tls-verify=false", reference)
    return measure.peak_memory(command, bench.own.environment)
