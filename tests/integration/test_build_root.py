"""RUN where root builds, who has every id."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.test_build_run import all_mounts
from tests.support.cli import new_cli

pytestmark = [pytest.mark.needs("userns", "busybox"), pytest.mark.as_root]


def test_every_mount_as_root(busybox_layout: Path, tmp_path: Path) -> None:
    context = tmp_path / "context"
    (context / "directory").mkdir(parents=True)
    (context / "file").write_text("of the context\n")
    (context / "directory" / "below").write_text("below\n")
    (context / "link").symlink_to("/directory")
    with new_cli() as user:
        user.ok("tag", user.ok("pull", "--quiet", f"oci:{busybox_layout}:latest").strip(), "localhost/busybox")
        assert "750 5:6 440 5:0 \n" in all_mounts(user, context)
