"""The monitor's program: ``python -IS __main__.py FD``. ``FD`` holds the settings, see `rootless.monitor.settings`."""

from __future__ import annotations

import marshal
import os
import sys


def main() -> None:
    """Read the settings and watch the container."""
    sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    from rootless.monitor.supervisor import Supervisor

    fd = int(sys.argv[1])
    data = os.pread(fd, os.fstat(fd).st_size, 0)
    os.close(fd)
    with open("/proc/self/comm", "wb", buffering=0) as name:
        name.write(b"rootless")
    Supervisor(marshal.loads(data)).run()


main()
