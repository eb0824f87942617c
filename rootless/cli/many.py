"""Commands that do the same to several named objects: one that fails does not keep the others from it."""

from __future__ import annotations

from rootless.cli import render
from rootless.cli.report import report
from rootless.errors import InUseError, NotFoundError, RootlessError, UsageError
from storage.errors import NotFoundError as NotInStoreError
from storage.errors import StorageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

MISSING = (NotFoundError, NotInStoreError)
FAILURES = (RootlessError, StorageError, OSError)

NO_SUCH, IN_USE = 1, 2


def remove_each(names: Iterable[str], remove: Callable[[str], Sequence[str]], ignore_missing: bool = False) -> int:
    """Call ``remove`` with each name and print the lines that it returns.

    The exit code is podman's for removals: 1 there is no such object, 2 it is in use, 125 anything else; of several
    failures the gravest.
    """
    code = 0
    for name in names:
        try:
            for text in remove(name):
                render.line(text)
        except MISSING as error:
            if not ignore_missing:
                report(error)
                code = max(code, NO_SUCH)
        except InUseError as error:
            report(error)
            code = max(code, IN_USE)
        except FAILURES as error:
            code = max(code, report(error))
    return code


def inspect_each(names: Iterable[str], inspect: Callable[[str], object], template: str | None) -> int:
    """Print what ``inspect`` tells of each name, as one JSON list or by a template; 125 if any is missing."""
    found: list[object] = []
    code = 0
    for name in names:
        try:
            found.append(inspect(name))
        except FAILURES as error:
            code = report(error)
    if template in (None, "", "json"):
        # Five blanks a level where no format is asked for: podman's own indentation of `inspect`.
        render.write(render.json_text(found, 4 if template else 5) + "\n")
    elif found:
        render.print_format(found, str(template))  # type: ignore[arg-type]
    return code


def inspect_document(document: object, template: str | None, indent: int = 4) -> None:
    """Print one document as JSON, with ``indent`` blanks a level, or by a template."""
    if template in (None, "", "json"):
        render.write(render.json_text(document, indent) + "\n")
    else:
        render.print_format([document], str(template))  # type: ignore[list-item]


def exists(name: str, look: Callable[[str], object]) -> int:
    """0 if there is such an object, else 1; says nothing."""
    try:
        return 0 if look(name) else 1
    except MISSING:
        return 1


def choose(args: list[str], everything: bool, what: str, others: bool = False, latest: object = None) -> None:
    """Check that names were given, or all or the ``latest`` were asked for, but no two of them; ``others``: chosen in
    another way."""
    if latest and (args or everything):
        other = f"{what}s" if args else "--all"
        raise UsageError(f"--latest and {other} cannot be used together", "leave away one of them")
    if everything and args:
        raise UsageError(f"cannot name {what}s together with --all", f"leave away either --all or the {what}s")
    if not (args or everything or others):
        one = "an image" if what == "image" else f"a {what}"
        raise UsageError("you must provide at least one name or id", f"name {one}, or use --all for all of them")


def confirmed(question: str, force: object) -> bool:
    """Whether the user agrees; asked on a terminal only, and never with ``--force``."""
    if force:
        return True
    import sys

    render.write(f"{question}\nAre you sure you want to continue? [y/N] ")
    return sys.stdin.readline().strip().lower() in ("y", "yes")
