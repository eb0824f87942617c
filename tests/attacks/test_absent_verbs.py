"""Attacks on what this program does not have as podman has it: files put into volumes for pods, checkpoints."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support.canary import Canary
from tests.support.cli import Cli, entry_point
from tests.support.copying import IMAGE, NONE


@pytest.mark.parametrize("verb", ["checkpoint", "restore"])
@pytest.mark.parametrize("program", ["rootless container", "rootless-oci"])
def test_no_archive_of_a_checkpoint_is_read_row_78(program: str, verb: str, cli: Cli) -> None:
    """Row 78: neither program restores anything: the verbs are unknown, whatever follows them."""
    name, *words = program.split()
    done = subprocess.run(
        [*entry_point(name), *words, verb, "archive.tar"], env=cli.environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode != 0 and f"unrecognized command '{verb}'" in done.stderr, done.stderr


@pytest.mark.needs("userns", "subuid", "newuidmap", "busybox")
@pytest.mark.parametrize("link", ["/canary/file", "{canary}/file", "../../../../../../{canary}/file"])
def test_a_file_for_a_volume_that_holds_a_link_row_72(
    shared_cli: Cli, canary: Canary, tmp_path: Path, link: str
) -> None:
    """Row 72: the place of a file, or of a secret of a build, is a link out in a volume: it is mounted inside."""
    volume = tmp_path / "volume"
    volume.mkdir()
    (volume / "cfg").symlink_to(link.format(canary=canary.root))
    (tmp_path / "secret").write_text("put into the volume\n")
    script = "cat /v/cfg; echo changed >/v/cfg; true"
    done = shared_cli.run(
        "run", "--rm", NONE, "-v", f"{volume}:/v", "-v", f"{tmp_path}/secret:/v/cfg", IMAGE, "sh", "-c", script
    )
    assert done.returncode or done.stdout == "put into the volume\n", done.stderr
    (tmp_path / "Containerfile").write_text(
        f"FROM {IMAGE}\nRUN --mount=type=secret,id=s,target=/v/cfg,mode=0666 {script}\n"
    )
    shared_cli.run(
        "build", "--no-cache", "-v", f"{volume}:/v", "--secret", f"id=s,src={tmp_path}/secret", str(tmp_path)
    )
    canary.check()
