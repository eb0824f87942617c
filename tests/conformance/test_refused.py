"""What a host does not have: asked for, it is refused; never dropped silently."""

from __future__ import annotations

import os

import pytest

from tests.conformance.support import Box
from tests.support import capabilities


def without(name: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(capabilities.find(name).present, reason=f"{name} is there: another lane asks for more")


@without("apparmor")
def test_apparmor_profile(box: Box) -> None:
    box.process["apparmorProfile"] = "profile"
    box.refused()


@without("selinux")
def test_selinux_label(box: Box) -> None:
    box.process["selinuxLabel"] = "system_u:system_r:container_t:s0:c1,c2"
    box.refused()


@without("selinux")
def test_mount_label(box: Box) -> None:
    box.linux["mountLabel"] = "system_u:object_r:container_file_t:s0:c1,c2"
    box.refused()


@pytest.mark.skipif(os.path.exists("/sys/fs/resctrl/schemata"), reason="Intel RDT is there")
def test_intel_rdt(box: Box) -> None:
    box.linux["intelRdt"] = {"closID": "class", "l3CacheSchema": "L3:0=f"}
    box.refused()


@pytest.mark.parametrize("name", ["apparmorProfile", "selinuxLabel"])
def test_empty_label_asks_for_nothing(box: Box, name: str) -> None:
    box.process[name] = ""
    assert box.output("echo", "ran") == "ran\n"


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("process.args", "sh"),
        ("process.env", {"A": "b"}),
        ("process.user", {"uid": "root"}),
        ("mounts", {"destination": "/x"}),
        ("linux.namespaces", ["mount"]),
        ("root", "rootfs"),
        ("process.rlimits", [{"type": "RLIMIT_CPU", "soft": "many", "hard": 1}]),
        ("hooks", {"prestart": {"path": "/bin/true"}}),
    ],
)
def test_value_of_the_wrong_type(box: Box, place: str, value: object) -> None:
    target = box.config
    *parents, last = place.split(".")
    for name in parents:
        target = target[name]
    target[last] = value
    box.write()
    assert box.call("create", "--bundle", str(box.bundle), box.id).code != 0
    assert box.status() == "absent"
