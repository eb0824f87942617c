"""A start loads nothing that costs as much as it: the same rule as in tests/arch, on the real thing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from rootless.runtime.delete import delete_tree
from tests.arch.test_hot_path import banned
from tests.support import bundles
from tests.support.cli import CHECKOUT, Cli

pytestmark = pytest.mark.needs("userns", "subuid", "newuidmap", "busybox")


def loaded(cli: Cli, *arguments: str) -> set[str]:
    """The modules that a command loads, in all its processes; it must succeed."""
    program = [sys.executable, "-IS", "-X", "importtime", str(CHECKOUT / "rootless" / "__main__.py")]
    command = [*program, *arguments]
    result = subprocess.run(command, capture_output=True, text=True, env=cli.environment, input="", check=False)
    assert result.returncode == 0, result.stderr
    marked = (line for line in result.stderr.splitlines() if line.startswith("import time:"))
    return {line.rpartition("|")[2].strip() for line in marked}


@pytest.mark.parametrize("network", ["none", "host", pytest.param("pasta", marks=pytest.mark.needs("pasta", "tun"))])
def test_run(shared_cli: Cli, network: str) -> None:
    command = ("run", "--rm", "--network", network, "localhost/busybox", "true")
    loaded(shared_cli, *command)  # the first start finds the driver and compiles the filter
    assert banned(loaded(shared_cli, *command)) == set()


def test_run_with_the_usual_options(shared_cli: Cli) -> None:
    options = "--rm --network none -e A=1 -w /tmp -u 1000 --cap-drop all --tmpfs /x --read-only --hostname box --init"
    command = ("run", *options.split(), "-v", "/tmp:/host:ro", "localhost/busybox", "true")
    loaded(shared_cli, *command)
    assert banned(loaded(shared_cli, *command)) == set()


def test_run_of_a_bundle(shared_cli: Cli, tmp_path: Path) -> None:
    bundles.make_root(tmp_path / "rootfs")
    given = bundles.spec("true")
    given["root"] = {"path": "rootfs"}
    # A filter of the Spec's own is found in the cache by its check sum.
    given["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW"}
    (tmp_path / "config.json").write_text(json.dumps(given))
    shared_cli.environment["ROOTLESS_PROGRAM"] = "rootless-oci"
    try:
        command = ("run", "--bundle", str(tmp_path), "hot")
        loaded(shared_cli, *command)
        assert banned(loaded(shared_cli, *command)) == set()
    finally:
        del shared_cli.environment["ROOTLESS_PROGRAM"]
        delete_tree(str(tmp_path / "rootfs"))
