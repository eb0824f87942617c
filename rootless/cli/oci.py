"""The commands of ``rootless-oci``, the OCI runtime's own command line."""

from __future__ import annotations

import os

from rootless import __version__
from rootless.cli import render
from rootless.cli.oci_state import Record, identifiers, root_directory
from rootless.errors import NotFoundError, RootlessError, UsageError
from rootless.runtime import hooks
from storage.errors import NotFoundError as NotInStoreError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from rootless.runtime.state import State

    Values = dict[str, Any]


def program_version(values: Values, args: list[str], global_values: Values) -> int:
    """``--version``: the first line has the name, as callers of a runtime expect."""
    render.line(f"rootless-oci version {__version__}")
    render.line(f"spec: {hooks.SPEC_VERSION}")
    return 0


def create(values: Values, args: list[str], global_values: Values) -> int:
    """``create``."""
    from rootless.cli import oci_run

    oci_run.create(Record(global_values, args[0]), values, global_values)
    return 0


def start(values: Values, args: list[str], global_values: Values) -> int:
    """``start``."""
    from rootless.cli import oci_run

    oci_run.start(Record(global_values, args[0]), global_values)
    return 0


def run(values: Values, args: list[str], global_values: Values) -> int:
    """``run``: the exit code is that of the container's program."""
    from rootless.cli import oci_run

    return oci_run.run(Record(global_values, args[0]), values, global_values)


def spec(values: Values, args: list[str], global_values: Values) -> int:
    """``spec``: an existing file is never replaced."""
    from rootless.cli import oci_template
    from rootless.runtime.bundle import CONFIG
    from storage.atomic import write_all

    text = render.json_text(oci_template.document(bool(values.get("rootless")) or os.geteuid() != 0)) + "\n"
    path = f"{values.get('bundle') or '.'}/{CONFIG}"
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    except FileExistsError:
        raise RootlessError(f"cannot write {path}: it exists", "move it away first") from None
    except OSError as error:
        raise RootlessError(f"cannot write {path}: {error.strerror}") from None
    try:
        write_all(fd, text.encode())
    finally:
        os.close(fd)
    return 0


def state(values: Values, args: list[str], global_values: Values) -> int:
    """``state``: the document of runtime.md, "State", and when the container was created."""
    record = Record(global_values, args[0])
    render.write(render.json_text(_document(record, record.read())) + "\n")
    return 0


def _document(record: Record, found: State) -> Values:
    status = record.status(found)
    document: Values = {"ociVersion": hooks.SPEC_VERSION, "id": record.id, "status": status}
    document["pid"] = 0 if status == "stopped" else found["pid"]
    document["bundle"] = found.get("bundle", "")
    document["annotations"] = found.get("annotations", {})
    document["created"] = found.get("created", "")
    return document


def list_all(values: Values, args: list[str], global_values: Values) -> int:
    """``list``: those that are being deleted at this moment are left out; a damaged one may be ``unknown``."""
    form = values.get("format") or "table"
    if form not in ("table", "json"):
        raise UsageError(f"unknown format {form!r}", "choose from: table, json")
    root = root_directory(global_values)
    names = identifiers(root)
    if values.get("quiet"):
        for name in names:
            render.line(name)
        return 0
    found = []
    for name in names:
        record = Record(global_values, name)
        try:
            known, whole = record.known()
            document = {**_document(record, known), "owner": _owner(record.directory)}
        except (NotFoundError, FileNotFoundError):
            continue
        if not whole and not document["pid"]:
            document["status"] = "unknown"
        found.append(document)
    if form == "json":
        render.write(render.json_text(found) + "\n")
        return 0
    keys = ("id", "pid", "status", "bundle", "created", "owner")
    rows = [[str(row[key]) for key in keys] for row in found]
    render.write(render.table([key.upper() for key in keys], rows))
    return 0


def _owner(directory: str) -> str:
    uid = os.stat(directory).st_uid
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"#{uid}"


def kill(values: Values, args: list[str], global_values: Values) -> int:
    """``kill``."""
    from rootless.cli import oci_signal

    number = oci_signal.parse(args[1] if len(args) > 1 else "TERM")
    record = Record(global_values, args[0])
    found = record.read()
    pidfd = oci_signal.open_init(found) if found["pid"] else -1
    if pidfd < 0:
        status = record.status(found)
        raise RootlessError(f"cannot kill the container {record.id}: container not running, but {status}")
    if values.get("all"):
        oci_signal.send_to_all(found, pidfd, number)
    else:
        oci_signal.send(pidfd, number)
    return 0


def delete(values: Values, args: list[str], global_values: Values) -> int:
    """``delete``: with ``--force`` a container that is already gone is no error."""
    record = Record(global_values, args[0])
    try:
        _delete(record, bool(values.get("force")), global_values)
    except (NotFoundError, NotInStoreError):
        if not values.get("force"):
            raise
    return 0


def _delete(record: Record, force: bool, global_values: Values) -> None:
    from rootless.cli import oci_signal
    from rootless.cli.oci_run import PATIENCE, destroy

    found, whole = record.known() if force else (record.read(), True)
    status = record.status(found)
    if status != "stopped":
        if not force:
            hint = f"stop it first, or use: rootless-oci delete --force {record.id}"
            raise RootlessError(f"cannot delete the container {record.id}: it is {status}", hint)
        pidfd = oci_signal.open_init(found) if found["pid"] else -1
        if pidfd >= 0:
            oci_signal.kill_and_wait(pidfd, PATIENCE)
    # Whoever runs it in the foreground deletes it as well, and then the lock says that it is gone.
    with record.lock():
        destroy(record, record.known()[0] if force else record.read(), global_values)
    if not whole and status == "stopped":
        raise RootlessError(
            f"cannot end what runs in the container {record.id}: its state was damaged, and is removed",
            "look for its processes, and end them",
        )


def features(values: Values, args: list[str], global_values: Values) -> int:
    """``features``."""
    from rootless.cli import oci_features

    render.write(render.json_text(oci_features.document()) + "\n")
    return 0
