"""Decision 2 of the architecture, enforced: once a process sees the image's files it loads nothing any more."""

from __future__ import annotations

import sys


def seal() -> None:
    """From now on an import, or an open from Python, is an error: it would read the image's files (CVE-2019-14271)."""

    def refuse(event: str, _: object) -> None:
        if event in ("import", "open", "ctypes.dlopen", "compile", "exec"):
            raise RuntimeError(f"{event} after the root was changed")

    sys.addaudithook(refuse)
