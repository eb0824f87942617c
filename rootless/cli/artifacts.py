"""Commands on artifacts."""

from __future__ import annotations

from rootless.cli import render
from rootless.engine.context import open_engine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Values = dict[str, Any]

HEADINGS = {"Repository": "REPOSITORY", "Tag": "TAG", "Digest": "DIGEST", "Created": "CREATED", "Size": "SIZE"}


def add(values: Values, args: list[str], global_values: Values) -> int:
    """``artifact add``: prints the digest."""
    from rootless.engine.images import artifacts

    made = artifacts.add(open_engine(global_values), args[0], args[1:], values)
    render.line(_encoded(made.digest))
    return 0


def extract(values: Values, args: list[str], global_values: Values) -> int:
    """``artifact extract``: prints nothing."""
    from rootless.engine.images import artifacts

    engine = open_engine(global_values)
    artifacts.extract(engine, artifacts.find(engine, args[0]), args[1], values)
    return 0


def inspect(values: Values, args: list[str], global_values: Values) -> int:
    """``artifact inspect``."""
    from rootless.cli.many import inspect_document
    from rootless.engine.images import artifacts

    engine = open_engine(global_values)
    inspect_document(artifacts.inspect(engine, artifacts.find(engine, args[0])), values.get("format"), 5)
    return 0


def ls(values: Values, args: list[str], global_values: Values) -> int:
    """``artifact ls``: a row for each name of each artifact."""
    import time

    from rootless.engine.images import artifacts
    from rootless.engine.times import parse_rfc3339

    now, full = time.time(), bool(values.get("no_trunc"))
    rows = []
    for row in artifacts.rows(open_engine(global_values)):
        digest = row["Digest"] if full else _encoded(row["Digest"])[:12]
        try:
            created = render.ago(parse_rfc3339(row["CreatedAt"]) / 1e9, now) if row["CreatedAt"] else ""
        except ValueError:
            created = ""
        rows.append({**row, "Digest": digest, "Created": created, "Size": render.size(row["SizeBytes"]),
                     "VirtualSize": row["SizeBytes"]})  # fmt: skip
    heading = not values.get("noheading")
    if values.get("format"):
        render.print_format(rows, values["format"], HEADINGS, heading)
    elif values.get("quiet"):
        render.write("".join(f"{digest}\n" for digest in dict.fromkeys(row["Digest"] for row in rows)))
    else:
        cells = [[row[key] for key in HEADINGS] for row in rows]
        render.write(render.table(list(HEADINGS.values()), cells, heading))
    return 0


def pull(values: Values, args: list[str], global_values: Values) -> int:
    """``artifact pull``: prints the digest."""
    from rootless.cli.progress import for_user
    from rootless.engine.images.artifacts_move import pull as pull_artifact

    engine = open_engine(global_values)
    render.line(_encoded(pull_artifact(engine, args[0], values, for_user(bool(values.get("quiet")))).digest))
    return 0


def push(values: Values, args: list[str], global_values: Values) -> int:
    """``artifact push``: prints nothing on standard output."""
    from rootless.cli.progress import for_user
    from rootless.engine.images.artifacts_move import push as push_artifact

    progress = for_user(bool(values.get("quiet")), "pushing", "pushed")
    push_artifact(open_engine(global_values), args[0], args[1] if len(args) > 1 else "", values, progress)
    return 0


def rm(values: Values, args: list[str], global_values: Values) -> int:
    """``artifact rm``: prints the digest of each."""
    from rootless.cli.many import FAILURES, MISSING, choose
    from rootless.cli.report import report
    from rootless.engine.images import artifacts

    choose(args, bool(values.get("all")), "artifact")
    engine = open_engine(global_values)
    names = [each.digest for each in engine.store.artifacts.list()] if values.get("all") else args
    code = 0
    for name in names:
        try:
            render.line(_encoded(artifacts.remove(engine, artifacts.find(engine, name))))
        except FAILURES as error:
            if not (values.get("ignore") and isinstance(error, MISSING)):
                code = report(error)
    return code


def _encoded(digest: str) -> str:
    return digest.rpartition(":")[2]
