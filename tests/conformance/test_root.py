"""config.md, "Root"; config-linux.md, "Rootfs Mount Propagation"."""

from __future__ import annotations

import os

import pytest

from tests.conformance.support import Box


def test_relative_and_absolute_path(box: Box) -> None:
    (box.root / "mark").write_text("mine\n")
    assert box.output("cat", "/mark") == "mine\n"
    box.config["root"]["path"] = str(box.root)
    assert box.output("cat", "/mark") == "mine\n"


def test_writable_by_default(box: Box) -> None:
    box.sh("echo text >/file")
    assert (box.root / "file").read_text() == "text\n"


def test_readonly(box: Box) -> None:
    box.config["root"]["readonly"] = True
    assert "Read-only" in box.sh("touch /file 2>&1; echo x >/dev/shm/x; cat /dev/shm/x")
    assert "ro" in box.mounts()["/"].options


def test_readonly_leaves_the_bundle_writable(box: Box) -> None:
    box.config["root"]["readonly"] = True
    box.sleep()
    (box.root / "file").write_text("from outside")
    assert box.executed("cat", "/file") == "from outside"


@pytest.mark.parametrize("path", ["nowhere", "/nowhere/at/all", "config.json", ""])
def test_path_that_is_no_directory(box: Box, path: str) -> None:
    box.config["root"]["path"] = path
    box.refused()


def test_missing_root(box: Box) -> None:
    del box.config["root"]
    box.refused()


def test_host_is_out_of_reach(box: Box) -> None:
    out = box.sh(f"ls / ; test -e {box.home} && echo REACHED; cat /proc/self/mountinfo")
    assert "REACHED" not in out
    assert not [line for line in out.splitlines() if " / / " in line and "ext4 /dev/root" in line]
    assert set(out.split("\n")[:12]) >= {"bin", "dev", "etc", "proc", "root", "sys", "tmp"}


def test_dot_dot_of_the_root_is_the_root(box: Box) -> None:
    assert box.sh("cd /../../..; test -x /../bin/busybox && pwd") == "/\n"


def propagation(box: Box) -> set[str]:
    return {field.partition(":")[0] for field in box.mounts()["/"].fields}


@pytest.mark.parametrize(
    ("value", "fields"),
    [
        ("private", set()),
        ("rprivate", set()),
        ("slave", {"master"}),
        ("rslave", {"master"}),
        ("shared", {"shared"}),
        ("rshared", {"shared"}),
        ("unbindable", {"unbindable"}),
        ("runbindable", {"unbindable"}),
    ],
)
def test_propagation(box: Box, value: str, fields: set[str]) -> None:
    box.linux["rootfsPropagation"] = value
    found = propagation(box)
    # Only what is below a shared mount of the host can be its slave: where all is private there is none.
    assert found == fields or (fields == {"master"} and found == set() and not host_is_shared())


def host_is_shared() -> bool:
    with open("/proc/self/mountinfo") as lines:
        return any(" / / " in line and "shared:" in line for line in lines)


def test_default_propagation_lets_nothing_out(box: Box) -> None:
    assert "shared" not in propagation(box)


def test_unknown_propagation(box: Box) -> None:
    box.linux["rootfsPropagation"] = "sideways"
    box.refused()


def test_mounts_stay_in_the_container(box: Box) -> None:
    box.process["capabilities"] = {kind: ["CAP_SYS_ADMIN"] for kind in ("bounding", "effective", "permitted")}
    box.sleep()
    box.executed("mount", "-t", "tmpfs", "none", "/tmp")
    assert not os.path.ismount(box.root / "tmp")
    with open("/proc/self/mountinfo") as lines:
        assert str(box.root) not in lines.read()
