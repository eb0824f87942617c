"""config.md: mounts whose ids are mapped (``uidMappings``, ``gidMappings``, ``idmap``, ``ridmap``)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.conformance.support import ROOT_HOST_ID, Box

MAP = [{"containerID": 0, "hostID": 3000, "size": 100}]
"""From ids on the file system to ids in the container; here without a user namespace."""


@pytest.fixture
def data(home: Path) -> Path:
    """A directory with a file of 0 and one of 5."""
    made = home / "data"
    made.mkdir(mode=0o755)
    for name, owner in (("zero", 0), ("five", 5)):
        (made / name).write_text("text")
        if os.getuid() == 0:
            os.chown(made / name, owner, owner + 1)
    return made


SHOW = "stat -c '%u %g' /data/zero /data/five"


@pytest.mark.as_root
@pytest.mark.since("mapped mounts")
def test_mapping_without_a_user_namespace(box: Box, data: Path) -> None:
    box.bind(data, "/data", "bind", "idmap", uidMappings=MAP, gidMappings=MAP)
    assert box.sh(SHOW) == "3000 3001\n3005 3006\n"


@pytest.mark.as_root
@pytest.mark.since("mapped mounts")
def test_new_files_get_the_source_ids(box: Box, data: Path) -> None:
    box.bind(data, "/data", "bind", "idmap", uidMappings=MAP, gidMappings=MAP)
    box.process["capabilities"]["effective"] = box.process["capabilities"]["permitted"]
    box.sh("mkdir -p /data/new 2>/dev/null; touch /data/new/x; chown 3007:3007 /data/zero; true")
    assert os.stat(data / "zero").st_uid == 7


@pytest.mark.as_root
@pytest.mark.since("mapped mounts")
def test_the_containers_mapping(box: Box, data: Path) -> None:
    box.map_users()
    same = [{"containerID": 0, "hostID": ROOT_HOST_ID, "size": 65536}]
    box.bind(data, "/data", "bind", "idmap", uidMappings=same, gidMappings=same)
    assert box.sh(SHOW) == "0 1\n5 6\n"


@pytest.mark.as_root
@pytest.mark.since("mapped mounts")
@pytest.mark.parametrize(("option", "below"), [("idmap", "0"), ("ridmap", "3000")])
def test_recursive(box: Box, home: Path, option: str, below: str) -> None:
    top = home / "tree"
    top.mkdir()
    script = f"mount -t tmpfs none {top}; mkdir {top}/sub; mount -t tmpfs none {top}/sub; touch {top}/sub/f {top}/f"
    with box.in_mount_namespace(script):
        box.bind(top, "/data", "rbind", option, uidMappings=MAP, gidMappings=MAP)
        assert box.sh("stat -c %u /data/f /data/sub/f").split() == ["3000", below]


@pytest.mark.since("mapped mounts")
def test_option_without_mappings_and_without_a_user_namespace(box: Box, data: Path) -> None:
    if os.getuid() != 0:
        box.host_namespace("user")
    box.bind(data, "/data", "bind", "idmap")
    box.refused()


@pytest.mark.as_user
@pytest.mark.since("mapped mounts")
def test_mapping_that_a_user_may_not_make(box: Box, data: Path) -> None:
    box.bind(data, "/data", "bind", "idmap", uidMappings=MAP, gidMappings=MAP)
    box.refused()


@pytest.mark.as_root
@pytest.mark.since("mapped mounts")
def test_mapping_of_one_kind_alone(box: Box, data: Path) -> None:
    box.bind(data, "/data", "bind", "idmap", uidMappings=MAP)
    box.refused()
