"""Images made on this machine, without a network: what a registry would serve."""

from __future__ import annotations

import shutil
import subprocess


def busybox_path() -> str | None:
    """The path of a statically linked busybox, or None."""
    for candidate in ("/bin/busybox", "/usr/bin/busybox", shutil.which("busybox")):
        if candidate and shutil.which(candidate):
            linked = subprocess.run(["ldd", candidate], capture_output=True, text=True, check=False)
            if linked.returncode != 0 or "statically linked" in linked.stdout:
                return candidate
    return None
