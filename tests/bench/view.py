"""Show a command the unified control group tree, which crun needs: ``python -m tests.bench.view COMMAND …``.

On a machine whose ``/sys/fs/cgroup`` is of the old kind root mounts the unified tree over it, in a mount namespace of
the command's own. Anybody else, and everybody on a machine with the unified tree, gets the command as it is.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

MOUNT = 'mount -t cgroup2 none /sys/fs/cgroup && exec "$@"'


def main(command: list[str]) -> None:
    """Replace this process by ``command``."""
    if os.getuid() == 0 and not Path("/sys/fs/cgroup/cgroup.controllers").exists():
        command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", MOUNT, "sh", *command]
    sys.stdout.flush()
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
