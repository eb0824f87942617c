"""`run --nested`: a container engine runs inside a container."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.support.cli import CHECKOUT, Cli

pytestmark = pytest.mark.needs("userns", "subuid", "newuidmap", "busybox", "overlay", "seccomp")

SCRIPT = """
export HOME=/store/home XDG_RUNTIME_DIR=/store/run PYTHONPATH={checkout} PYTHONDONTWRITEBYTECODE=1
mkdir -m 700 -p $HOME $XDG_RUNTIME_DIR
rootless() {{ {python} -m rootless --root /store/data "$@"; }}
image=$(rootless pull -q oci:/layout:latest) || exit 9
rootless run --rm $image sh -c 'id -u; cat /srv/second-layer; grep Seccomp: /proc/self/status; ls /proc | grep -cw 1'
rootless run -d --name inner --network none $image sleep 100 >/dev/null && rootless exec inner echo joined
rootless rm -f -t 0 inner >/dev/null
"""


def engine_inside(cli: Cli, layout: Path, *flags: str) -> tuple[int, str, str]:
    """Run this program in a container on the machine's own files: exit code, output, complaints."""
    store = cli.home / "inner"
    python = Path(sys.executable)
    script = SCRIPT.format(checkout=CHECKOUT, python=python)
    store.mkdir()
    volumes = ("-v", f"{store}:/store", "-v", f"{layout}:/layout:ro", "--tmpfs", "/tmp")
    run = ("run", "--rm", *flags, *volumes, "--rootfs", "/:O", "sh", "-c", script)
    done = cli.run(*run, timeout=120)
    return done.returncode, done.stdout, done.stderr


def test_an_engine_runs_inside_row_99(cli: Cli, busybox_layout: Path) -> None:
    """security row 99: --nested opens user namespaces, mounts and an unmasked /proc, and nothing beyond."""
    code, output, errors = engine_inside(cli, busybox_layout, "--nested")
    assert (code, output.split()) == (0, ["0", "second", "Seccomp:", "2", "1", "joined"]), errors


def test_by_default_none_does_row_99(cli: Cli, busybox_layout: Path) -> None:
    _, output, errors = engine_inside(cli, busybox_layout)
    assert "second" not in output and "Error: " in errors and "Traceback" not in errors


def test_what_stays_closed(shared_cli: Cli) -> None:
    """No capability comes with it, the filter stays, and with AppArmor no profile that would deny mounts."""
    run = ("run", "--rm", "--network", "none", "--nested", "localhost/busybox")
    status = shared_cli.ok(*run, "grep", "-E", "CapBnd|CapEff|Seccomp:", "/proc/self/status")
    assert status.split() == ["CapEff:", "00000000800405fb", "CapBnd:", "00000000800405fb", "Seccomp:", "2"]
    done = shared_cli.run(*run, "mount", "-t", "tmpfs", "none", "/tmp")
    assert done.returncode != 0
    done = shared_cli.run(*run, "sh", "-c", "echo x >/proc/sysrq-trigger || cat /proc/kcore")
    assert done.returncode != 0 and done.stdout == ""
