"""``--chown``: names are looked up in the image's own files, as buildah does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rootless.errors import RootlessError
from rootless.init import identity

if TYPE_CHECKING:
    from rootless.build.copy.view import View

_LIMIT = 4 << 20


def owner(view: View, text: str) -> tuple[int, int]:
    """(uid, gid) of ``USER[:GROUP]``. Raises RootlessError for a name that is not there, or none at all."""
    if not text.strip(":") or text.endswith(":"):
        raise RootlessError(f"--chown={text[:80]!r} is no owner", "write it as USER[:GROUP]")
    try:
        return identity.owner(view.read("etc/passwd", _LIMIT), view.read("etc/group", _LIMIT), text)
    except RootlessError as error:
        raise RootlessError(f"--chown={text}: {error.message}", error.hint) from None
