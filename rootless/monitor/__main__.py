"""The monitor's program: ``python -IS __main__.py FD``. ``FD`` holds the settings, see `rootless.monitor.settings`."""

from __future__ import annotations

import marshal
import os
import sys


def main() -> None:
    """Read the settings and watch the container."""
    sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    from rootless.monitor import ending
    from rootless.monitor.supervisor import Supervisor

    fd = int(sys.argv[1])
    data = os.pread(fd, os.fstat(fd).st_size, 0)
    os.close(fd)
    try:
        with open("/proc/self/comm", "wb", buffering=0) as name:
            name.write(b"rootless")
    except OSError:
        pass  # it is only what `ps` shows
    settings = marshal.loads(data)
    try:
        supervisor = Supervisor(settings)
    except OSError as error:
        ending.refuse(settings, f"cannot watch the container: {error.strerror}")
        raise
    supervisor.run()


main()
