"""config-linux.md, "Devices" and "Default Devices"."""

from __future__ import annotations

import os

import pytest

from tests.conformance.support import Box

DEFAULT = {"null": "1:3", "zero": "1:5", "full": "1:7", "random": "1:8", "urandom": "1:9", "tty": "5:0"}
NUMBERS = "stat -c '%F %t:%T'"


@pytest.mark.parametrize("name", DEFAULT)
def test_default_device(box: Box, name: str) -> None:
    out = box.output("stat", "-c", "%F %t:%T %a", f"/dev/{name}")
    assert out == f"character special file {DEFAULT[name]} 666\n"


def test_default_devices_work(box: Box) -> None:
    out = box.sh(
        "echo x >/dev/null; head -c 3 /dev/zero | xxd -p; head -c 9 /dev/urandom | wc -c; head -c 9 /dev/random | wc -c"
        "; echo x 2>/dev/null >/dev/full || echo full"
    )
    assert out == "000000\n9\n9\nfull\n"


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
    ],
)
def test_links(box: Box, name: str, target: str) -> None:
    assert box.output("readlink", f"/dev/{name}") == f"{target}\n"


def test_ptmx(box: Box) -> None:
    assert box.sh("readlink -f /dev/ptmx") in ("/dev/pts/ptmx\n", "/dev/ptmx\n")
    assert box.sh(f"{NUMBERS} -L /dev/ptmx") == "character special file 5:2\n"


def test_no_other_device(box: Box) -> None:
    found = set(box.sh("cd /dev; find . -xdev -type c -o -xdev -type b").split())
    assert found <= {f"./{name}" for name in (*DEFAULT, "ptmx")}


def test_no_console_without_a_terminal(box: Box) -> None:
    assert box.sh("test -e /dev/console || echo none") == "none\n"


@pytest.mark.needs("fuse")
def test_device_of_the_host(box: Box) -> None:
    box.linux["devices"] = [{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 0o666}]
    box.linux["resources"] = {"devices": [{"allow": True, "access": "rwm"}]}
    assert box.sh(f"{NUMBERS} /dev/fuse; : <>/dev/fuse") == "character special file a:e5\n"


@pytest.mark.as_root
@pytest.mark.parametrize(
    ("kind", "shown"), [("c", "character special file"), ("u", "character special file"), ("b", "block special file")]
)
def test_made_device(box: Box, kind: str, shown: str) -> None:
    box.linux["devices"] = [
        {"path": "/dev/mine", "type": kind, "major": 1, "minor": 3, "fileMode": 0o620, "uid": 7, "gid": 8}
    ]
    assert box.sh("stat -c '%F %t:%T %a %u %g' /dev/mine") == f"{shown} 1:3 620 7 8\n"


@pytest.mark.as_root
def test_pipe(box: Box) -> None:
    box.linux["devices"] = [{"path": "/dev/mine", "type": "p", "fileMode": 0o600}]
    assert box.sh("stat -c '%F %a' /dev/mine") == "fifo 600\n"


@pytest.mark.as_root
def test_device_outside_of_dev(box: Box) -> None:
    box.linux["devices"] = [{"path": "/opt/deep/null", "type": "c", "major": 1, "minor": 3}]
    assert box.sh(f"{NUMBERS} /opt/deep/null; echo x >/opt/deep/null") == "character special file 1:3\n"


@pytest.mark.as_root
def test_file_that_is_no_such_device(box: Box) -> None:
    (box.root / "opt").mkdir()
    (box.root / "opt/null").write_text("mine")
    box.linux["devices"] = [{"path": "/opt/null", "type": "c", "major": 1, "minor": 3}]
    box.refused()


NONE = {"allow": False, "access": "rwm"}
FUSE = {"type": "c", "major": 10, "minor": 229}
OPEN = "(: </dev/fuse) 2>/dev/null && echo read; (: >/dev/fuse) 2>/dev/null && echo written; echo x >/dev/null; true"


@pytest.mark.as_root
@pytest.mark.needs("fuse")
@pytest.mark.parametrize(
    ("rules", "possible"),
    [
        ([NONE], []),
        ([NONE, {"allow": True, "access": "r", **FUSE}], ["read"]),
        ([NONE, {"allow": True, "access": "rwm", "type": "c", "major": 10}], ["read", "written"]),
        ([NONE, {"allow": True, "access": "rw", **FUSE}, {"allow": False, "access": "w", **FUSE}], ["read"]),
        ([{"allow": True, "access": "rwm"}], ["read", "written"]),
    ],
)
def test_rules(box: Box, rules: list[object], possible: list[str]) -> None:
    """``resources.devices``: the last rule that fits decides, also for ``exec``; the default devices stay."""
    box.linux["devices"] = [{"path": "/dev/fuse", "fileMode": 0o666, **FUSE}]
    box.linux["resources"] = {"devices": rules}
    box.sleep()
    assert box.executed("sh", "-c", OPEN).split() == possible


@pytest.mark.as_user
@pytest.mark.needs("fuse")
def test_rules_that_a_user_cannot_have(box: Box) -> None:
    box.linux["devices"] = [{"path": "/dev/fuse", **FUSE}]
    box.linux["resources"] = {"devices": [NONE]}
    box.refused()


def test_unknown_type(box: Box) -> None:
    box.linux["devices"] = [{"path": "/dev/mine", "type": "x", "major": 1, "minor": 3}]
    box.refused()


@pytest.mark.as_user
def test_device_that_the_host_does_not_have(box: Box) -> None:
    box.linux["devices"] = [{"path": "/dev/nonsense", "type": "c", "major": 10, "minor": 250}]
    box.refused()


@pytest.mark.as_root
def test_device_through_a_link_stays_inside(box: Box) -> None:
    (box.root / "link").symlink_to("/var/tmp")
    box.linux["devices"] = [{"path": f"/link/{box.id}", "type": "c", "major": 1, "minor": 3}]
    box.run()
    assert not os.path.exists(f"/var/tmp/{box.id}")


def test_dev_may_be_a_plain_directory(box: Box) -> None:
    box.config["mounts"] = [one for one in box.config["mounts"] if not one["destination"].startswith("/dev")]
    assert box.sh(f"{NUMBERS} /dev/null; echo x >/dev/null") == "character special file 1:3\n"


def test_dev_bound_from_the_host(box: Box) -> None:
    box.config["mounts"] = [one for one in box.config["mounts"] if not one["destination"].startswith("/dev")]
    box.bind("/dev", "/dev", "rbind")
    before = sorted(os.listdir("/dev"))
    assert box.sh("echo x >/dev/null; echo fine") == "fine\n"
    assert sorted(os.listdir("/dev")) == before
