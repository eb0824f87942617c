"""Boot the machine and run a command of the shell in it: ``python -m tests.uml.shell [--root] [--timeout S] COMMAND``.

The command runs in a login session of the user "user"; the checkout is installed as ``rootless`` and ``rootless-oci``.
"""

from __future__ import annotations

import argparse
import sys
import time

from tests.uml.image import Unavailable
from tests.uml.machine import BARE, USER, MachineFailed, machine


def main() -> int:
    """Boot, run, and give the exit code of the command; 125 if there is no machine."""
    parser = argparse.ArgumentParser(prog="python -m tests.uml.shell", description="A command in the machine.")
    parser.add_argument("--root", action="store_true", help="run it as root, outside any session")
    parser.add_argument("--bare", action="store_true", help="boot without systemd, which is quicker")
    parser.add_argument("--timeout", type=float, default=300, metavar="S", help="seconds the command may take (300)")
    parser.add_argument("command", help="for the shell")
    options = parser.parse_args()
    try:
        with machine() as booted:
            started = time.monotonic()
            booted.boot(*([BARE] if options.bare else []))
            print(f"booted in {time.monotonic() - started:.1f} s", file=sys.stderr)
            user = "root" if options.root else USER
            return booted.run(options.command, user=user, timeout=options.timeout, live=True).code
    except (Unavailable, MachineFailed) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 125


if __name__ == "__main__":
    sys.exit(main())
