"""Puts the man pages into the wheel, made at build time from the declarations of the command line.

A wheel's data files land in ``share/man`` of the environment that it is installed in, where pipx and ``man`` (through
``PATH``) find them.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class ManPages(BuildHookInterface[Any]):
    """The hook that hatchling calls around the build of a wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Write the man pages and have them packed as ``share/man/man1/*``."""
        if version == "editable":
            return
        sys.path.insert(0, self.root)
        from docs.generate import write_man

        self._work = tempfile.TemporaryDirectory(prefix="rootless-man-")
        for file in write_man(Path(self._work.name)):
            build_data["shared_data"][str(file)] = f"share/man/{file.parent.name}/{file.name}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Delete the pages that the wheel now holds."""
        if version != "editable":
            self._work.cleanup()
