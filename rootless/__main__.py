"""The program: ``python -m rootless``, and the file that the installed command runs.

The installed commands, ``rootless`` and ``rootless-oci`` (``contrib/launcher/rootless``), start this file as
``python -IS``, without the site module, whose work costs more than half of a container's start. The directory that this
package is in is then added here; the other directories of packages follow when an import is not found without them.
"""

from __future__ import annotations

import os
import sys

INTERRUPTED = 128 + 2

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import NoReturn


class LateSite:
    """An import finder, asked last, that does the site module's work the first time a module is not found."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        sys.meta_path.remove(self)
        import site
        from importlib.machinery import PathFinder

        site.main()
        return PathFinder.find_spec(name, path, target)


def open_missing_streams() -> None:
    """Put something in the place of each of the descriptors 0, 1 and 2 that the caller has closed.

    Else the next file that is opened, one of the store, would be a container's standard input or output. Each is
    opened the wrong way round, so that its use fails as that of a closed one does.
    """
    modes = (os.O_WRONLY, os.O_RDONLY, os.O_RDONLY)
    for number, (stream, mode) in enumerate(zip((sys.stdin, sys.stdout, sys.stderr), modes, strict=True)):
        if stream is None:
            fd = os.open(os.devnull, mode)
            os.dup2(fd, number)
            if fd != number:
                os.close(fd)
    sys.stdin = sys.stdin or os.fdopen(0, closefd=False)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)


def run() -> NoReturn:
    """Run the command line of the process and end it."""
    if sys.stdin is None or sys.stdout is None or sys.stderr is None:
        open_missing_streams()
    if sys.flags.no_site:
        # At the end, as site does: a package cannot take the place of a module of the standard library.
        sys.path.append(os.path.dirname(os.path.dirname(__file__)))
        sys.meta_path.append(LateSite())
    # The launcher's own path, which `python FILE` would hide.
    sys.argv[0] = os.environ.pop("ROOTLESS_PROGRAM", "rootless")
    import gc

    # The cycles that a command makes are few and end with the process; the search for them costs 1 ms of a start.
    gc.set_threshold(50_000)
    try:
        from rootless.cli.main import main
        from rootless.cli.report import of_output, report

        code = main(sys.argv[1:])
        try:
            sys.stdout.flush()
        except OSError as error:
            code = report(of_output(error))
    except KeyboardInterrupt:
        code = INTERRUPTED
    # Nothing is left to do: taking the interpreter's modules apart would cost 2 ms.
    os._exit(code)


if __name__ == "__main__":
    run()
