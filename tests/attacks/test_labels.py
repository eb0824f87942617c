"""Labels of AppArmor and SELinux where a machine has neither; where it has, see tests/uml/inside."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rootless.security import apparmor, selinux
from tests.support import bundles
from tests.support.cli import Cli

pytestmark = [
    pytest.mark.needs("userns", "busybox"),
    pytest.mark.skipif(apparmor.enabled() or selinux.enabled(), reason="needs a machine without AppArmor and SELinux"),
]
IMAGE = "localhost/busybox"
ASKED = ["apparmor=some-profile", "apparmor=docker-default", "label=type:container_t", "label=level:s0:c1,c2",
         "label=user:system_u", "label=role:system_r", "label=filetype:container_file_t"]  # fmt: skip


@pytest.mark.parametrize("option", ASKED)
def test_what_is_asked_for_is_not_left_out_row_64(shared_cli: Cli, option: str) -> None:
    """security row 64: refused before anything starts, by run and by create, with a way out."""
    flags = ("--network", "none", "--security-opt", option)
    for command in (("run", "--rm"), ("run", "-d"), ("create",)):
        done = shared_cli.run(*command, *flags, IMAGE, "echo", "started")
        assert done.returncode == 125 and "started" not in done.stdout
        assert "cannot apply the" in done.stderr and "this machine has no" in done.stderr and "hint: " in done.stderr
    assert shared_cli.ok("ps", "-aq") == ""


@pytest.mark.parametrize("option", ["apparmor=unconfined", "label=disable", "label=nested"])
def test_what_asks_for_nothing_is_fine_anywhere(shared_cli: Cli, option: str) -> None:
    run = ("run", "--rm", "--network", "none", "--security-opt", option, IMAGE)
    assert shared_cli.ok(*run, "echo", "started") == "started\n"


def test_containers_go_without_and_say_so(shared_cli: Cli, tmp_path: Path) -> None:
    """The defaults, and the options z and Z of volumes, need no security module."""
    bind = f"type=bind,src={tmp_path},dst=/z,relabel=shared"
    volumes = ("-v", f"{tmp_path}:/x:z", "-v", "named:/y:Z", "--mount", bind)
    name = shared_cli.ok("create", "--network", "none", *volumes, IMAGE, "true").strip()
    shown = json.loads(shared_cli.ok("inspect", name))[0]
    shared_cli.ok("start", "-a", name)
    assert (shown["AppArmorProfile"], shown["ProcessLabel"], shown["MountLabel"]) == ("", "", "")
    assert shown["Isolation"]["LSM"]["Has"] == [] and "no AppArmor" in shown["Isolation"]["LSM"]["Why"]
    shared_cli.ok("rm", "-v", name)


@pytest.mark.parametrize(
    ("place", "key"), [("process", "apparmorProfile"), ("process", "selinuxLabel"), ("linux", "mountLabel")]
)
def test_labels_of_a_bundle_row_64(tmp_path: Path, place: str, key: str) -> None:
    """security row 64: of a config.json, for whoever calls the runtime."""
    root = bundles.make_root(tmp_path / "rootfs")
    given = bundles.spec("echo", "started")
    given[place][key] = "system_u:system_r:some_t:s0"
    done = bundles.run(tmp_path, given, root)
    assert (done.returncode, done.stdout) == (125, "") and "this machine has no" in done.stderr
