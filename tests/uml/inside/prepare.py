"""The user's store is given an image: ``python -m tests.uml.inside.prepare``, in the machine."""

from __future__ import annotations

from pathlib import Path

from tests.support.images import busybox_layout
from tests.uml.inside.session import IMAGE, LAYOUT, Session


def main() -> None:
    """Make an image of busybox and take it in."""
    busybox_layout(Path(LAYOUT))
    session = Session()
    session.ok("tag", session.ok("pull", "--quiet", f"oci:{LAYOUT}:latest").strip(), IMAGE)


if __name__ == "__main__":
    main()
