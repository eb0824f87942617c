"""Run a command as root in a mount namespace of its own: ``python -m tests.support.as_root COMMAND …``.

For anybody but root, and for root of a real machine (neither in a container nor in CI), there is nothing to do:
the command is not run and the exit code is 0. pytest's "no tests collected" (5) counts as success.
"""

from __future__ import annotations

import os
import subprocess
import sys

from tests.support.machine import may_change_machine

NO_TESTS_COLLECTED = 5


def main(command: list[str]) -> int:
    """Run ``command`` where root is allowed to be tested; its exit code."""
    if os.getuid() != 0 or not may_change_machine():
        print("not root of a container or of CI: the tests of root are left out")
        return 0
    done = subprocess.run(["unshare", "--mount", "--propagation", "private", *command], check=False)
    return 0 if done.returncode == NO_TESTS_COLLECTED else done.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
