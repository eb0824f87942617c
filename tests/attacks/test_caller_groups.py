"""The groups of whoever starts a container stay outside."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import images
from tests.support.as_user import provisioned_user
from tests.support.cli import new_cli

GROUPS = range(54321, 54331)

pytestmark = pytest.mark.needs("busybox")


@pytest.fixture
def volume() -> Iterator[Path]:
    """A directory that everybody reaches, with a file that one group of the host may read and nobody else."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
        file = Path(directory) / "file"
        file.write_text("host\n")
        os.chown(file, 0, GROUPS[0])
        file.chmod(0o040)
        Path(directory).chmod(0o755)
        yield Path(directory)


@pytest.mark.as_root
def test_groups_of_the_caller_are_left_behind_row_58(volume: Path) -> None:
    """security row 58: a caller in ten groups of the host brings none of them along, unless it is asked for."""
    entry = pwd.getpwnam(provisioned_user())
    groups = ",".join(map(str, GROUPS))
    script = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1]);"
        "from tests.attacks import test_caller_groups as t; t.as_the_caller(Path(sys.argv[2]))"
    )
    done = subprocess.run(
        ["setpriv", f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", f"--groups={groups}",
         sys.executable, "-c", script, str(Path(__file__).parents[2]), str(volume)],
        env={"HOME": entry.pw_dir, "PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True, text=True, check=False, cwd="/",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def as_the_caller(volume: Path) -> None:
    """What the last test does as the unprivileged user."""
    assert len(os.getgroups()) == 10 and (volume / "file").read_text() == "host\n"
    with tempfile.TemporaryDirectory(dir="/var/tmp") as scratch, new_cli() as cli:
        layout = images.busybox_layout(Path(scratch) / "layout")
        cli.ok("tag", cli.ok("pull", "--quiet", f"oci:{layout}:latest").strip(), "localhost/grouped:latest")
        script = "grep Groups /proc/self/status; cat /host/file"
        run = ("run", "--rm", "--network", "none", "-v", f"{volume}:/host", "--pull", "never")
        for user, expected in (("root", {"0"}), ("user", {"1000", "2000"})):
            done = cli.run(*run, "-u", user, "localhost/grouped", "sh", "-c", script)
            assert set(done.stdout.split()[1:]) <= expected | {"0"} and "host" not in done.stdout, done.stdout
        done = cli.run(*run, "--group-add", "keep-groups", "localhost/grouped", "sh", "-c", script)
        assert "host" in done.stdout, done.stderr
