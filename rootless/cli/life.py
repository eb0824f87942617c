"""The commands that begin and end the running of containers. The engine does the work; here names become containers."""

from __future__ import annotations

from rootless.cli import render
from rootless.engine.context import open_engine
from rootless.errors import RootlessError, UsageError
from storage.errors import NotFoundError, StorageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from rootless.engine.context import Engine

    Values = dict[str, Any]

FAILED = 125


def start(values: Values, args: list[str], global_values: Values) -> int:
    """``start``: the exit code of the container's program with ``--attach``."""
    from rootless.engine.containers import start as starts

    engine = open_engine(global_values)
    found = chosen(engine, values, args, ("created", "exited", "initialized"))
    if values.get("attach") or values.get("interactive"):
        if len(found) != 1:
            raise UsageError("you cannot start and attach multiple containers at once")
        return starts.attached(engine, *found[0], values)
    return each(found, lambda container_id, name: starts.start(engine, container_id, name))


def attach(values: Values, args: list[str], global_values: Values) -> int:
    """``attach``: the exit code of the container's program, 0 when the user detached."""
    from rootless.engine.containers.attach import attach as connect

    engine = open_engine(global_values)
    container_id, name = chosen(engine, values, args, ())[0]
    return connect(engine, container_id if values.get("latest") else name, values)


def stop(values: Values, args: list[str], global_values: Values) -> int:
    """``stop``: prints each container as it was named."""
    from rootless.engine.containers.stop import stop as end

    engine = open_engine(global_values)
    found = chosen(engine, values, args, ("running", "paused", "initialized", "restarting"))
    return each(found, lambda container_id, _: end(engine, container_id, values.get("time")))


def kill(values: Values, args: list[str], global_values: Values) -> int:
    """``kill``: prints each container as it was named."""
    from rootless.engine.containers.stop import kill as send
    from rootless.linux import signals

    text = values.get("signal") or "KILL"
    try:
        number = signals.number(text)
    except ValueError:
        raise UsageError(f"cannot send the signal {text[:40]!r}: there is none of that name") from None
    engine = open_engine(global_values)
    found = chosen(engine, values, args, ("running", "paused"))
    return each(found, lambda container_id, name: send(engine, container_id, name, number))


def restart(values: Values, args: list[str], global_values: Values) -> int:
    """``restart``: prints each container as it was named."""
    from rootless.engine.containers.start import start as begin
    from rootless.engine.containers.stop import stop as end

    engine = open_engine(global_values)
    states = ("running",) if values.get("running") else ("created", "exited", "initialized", "running", "restarting")
    found = chosen(engine, {**values, "all": values.get("all") or values.get("running")}, args, states)

    def once_more(container_id: str, name: str) -> None:
        end(engine, container_id, values.get("time"))
        begin(engine, container_id, name)

    return each(found, once_more)


def wait(values: Values, args: list[str], global_values: Values) -> int:
    """``wait``: prints the exit codes."""
    from rootless.engine.containers import stop as ends

    conditions = [word for item in values.get("condition") or [] for word in item.split(",")]
    for word in conditions:
        if word not in ends.CONDITIONS:
            raise UsageError(f"cannot wait for the state {word[:40]!r}", f"choose from: {', '.join(ends.CONDITIONS)}")
    interval = 0.25
    if values.get("interval"):
        from rootless.durations import parse_duration

        text = str(values["interval"])
        interval = parse_duration(text + "ms" if text.isdigit() else text, "--interval")
    engine = open_engine(global_values)
    found: Iterable[tuple[str, str]]
    if values.get("ignore") and args:
        found = [(_found(engine, name), name) for name in args]
    else:
        found = chosen(engine, values, args, ())
    for container_id, _ in found:
        render.line(str(ends.wait(engine, container_id, conditions, interval)) if container_id else "-1")
    return 0


def _found(engine: Engine, name: str) -> str:
    """The ID of a container, empty if there is none."""
    try:
        return engine.store.containers.find(name)
    except NotFoundError:
        return ""


def init(values: Values, args: list[str], global_values: Values) -> int:
    """``init``: prints each container as it was named."""
    from rootless.engine.containers.start import init as make

    engine = open_engine(global_values)
    found = chosen(engine, values, args, ("created", "exited"))
    return each(found, lambda container_id, name: make(engine, container_id, name))


def resume(values: Values, args: list[str], global_values: Values) -> int:
    """``resume``: prints the names of the containers that it started."""
    from rootless.cli.report import report
    from rootless.engine.containers.start import resume as start_wanted

    code = 0
    for name, error in start_wanted(open_engine(global_values)):
        if error:
            code = report(error)
        else:
            render.line(name)
    return code


def again(values: Values, args: list[str], global_values: Values) -> int:
    """The monitor's own: start the container whose lock this process holds once more."""
    from rootless.engine.containers.start import again as start_again

    start_again(open_engine(global_values), args[1], int(args[0]))


def remove_after(values: Values, args: list[str], global_values: Values) -> int:
    """The monitor's own: remove the container whose lock this process holds; its exit code."""
    from rootless.engine.containers.start import remove_after as remove

    remove(open_engine(global_values), args[1], int(args[0]))
    return int(args[2])


def chosen(engine: Engine, values: Values, args: list[str], states: tuple[str, ...]) -> list[tuple[str, str]]:
    """(id, name as it is printed) of the containers that a command line means.

    ``states`` are those that ``--all`` takes. With ``ignore`` missing ones are left out.
    """
    from rootless.cli.many import choose

    names = list(args)
    for path in values.get("cidfile") or []:
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                names.append(file.readline(100).strip())
        except OSError as error:
            if not values.get("ignore"):
                raise RootlessError(f"cannot read the container ID file {path}: {error.strerror}") from None
    selected = any(values.get(key) for key in ("filter", "latest", "cidfile"))
    choose(args, bool(values.get("all")), "container", selected, values.get("latest"))
    found = []
    for name in names:
        try:
            found.append((engine.store.containers.find(name), name))
        except NotFoundError:
            if not values.get("ignore"):
                raise
    if values.get("all") or values.get("filter") or values.get("latest"):
        from rootless.engine.containers.listing import list_containers

        selection = {"all": True, "filter": values.get("filter") or [], "latest": values.get("latest")}
        rows = list_containers(engine, selection)
        if values.get("all"):
            rows = [row for row in rows if row["State"] in states]
        found += [(row["Id"], row["Id"]) for row in rows]
    return found


def each(found: Iterable[tuple[str, str]], action: Callable[[str, str], object]) -> int:
    """Do it to each and print its name; one that fails does not keep the others from it. The exit code."""
    from rootless.cli.report import report

    code = 0
    for container_id, name in found:
        try:
            action(container_id, name)
            render.line(name)
        except (RootlessError, StorageError, OSError) as error:
            code = report(error) and FAILED
    return code
