"""config-linux.md, "Namespaces", "User namespace mappings", "Offset for Time Namespace"; the names of the host."""

from __future__ import annotations

import os

import pytest

from tests.conformance.support import HIDDEN, IS_ROOT, Box, holder, namespace_id

FILES = {
    "mount": "mnt",
    "pid": "pid",
    "network": "net",
    "ipc": "ipc",
    "uts": "uts",
    "user": "user",
    "cgroup": "cgroup",
    "time": "time",
}
UNSHARE = {"network": "--net", "ipc": "--ipc", "uts": "--uts", "cgroup": "--cgroup", "mount": "--mount"}


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[pytest.mark.since("time namespace")] * (kind == "time")) for kind in FILES]
)
def test_new(box: Box, kind: str) -> None:
    if kind == "user":
        box.map_users()
    else:
        box.namespace(kind)
    box.sleep()
    assert namespace_id(box.pid, FILES[kind]) != namespace_id("self", FILES[kind])


@pytest.mark.parametrize("kind", ["network", "ipc", "uts", "cgroup", "time", "pid"])
def test_of_the_runtime(box: Box, kind: str) -> None:
    box.host_namespace(kind)
    if kind == "uts":
        del box.config["hostname"]
    if kind in ("network", "pid") and not IS_ROOT:
        # A user may mount neither the host's network nor its processes anew.
        box.drop_mount("/sys")
        box.drop_mount("/proc")
        box.bind("/proc", "/proc", "rbind")
        box.bind("/sys", "/sys", "rbind", "ro")
    box.sleep()
    assert namespace_id(box.pid, FILES[kind]) == namespace_id("self", FILES[kind])


@pytest.mark.parametrize("kind", UNSHARE)
def test_by_path(box: Box, kind: str) -> None:
    users = [] if IS_ROOT else ["--user", "--map-root-user", "--map-auto"]
    with holder(*users, UNSHARE[kind]) as pid:
        if not IS_ROOT:
            box.join_users(pid)
        if kind == "uts":
            del box.config["hostname"]
        box.namespace(kind, f"/proc/{pid}/ns/{FILES[kind]}")
        box.sleep()
        assert namespace_id(box.pid, FILES[kind]) == namespace_id(pid, FILES[kind])


def test_pid_by_path(box: Box, second: Box) -> None:
    box.sleep()
    if not IS_ROOT:
        second.join_users(box.pid)
    second.namespace("pid", f"/proc/{box.pid}/ns/pid")
    second.sleep()
    assert namespace_id(second.pid, "pid") == namespace_id(box.pid, "pid")
    assert "sleep" in second.executed("cat", "/proc/1/comm")
    assert second.executed("sh", "-c", "echo $$") != "1\n"


def test_user_by_path(box: Box, second: Box) -> None:
    box.map_users()
    box.sleep()
    second.map_users()
    second.join_users(box.pid)
    second.sleep()
    assert namespace_id(second.pid, "user") == namespace_id(box.pid, "user")


@pytest.mark.since("time namespace")
def test_time_by_path(box: Box, second: Box) -> None:
    box.namespace("time")
    box.linux["timeOffsets"] = {"boottime": {"secs": 1000000}}
    box.sleep()
    if not IS_ROOT:
        second.join_users(box.pid)
    second.namespace("time", f"/proc/{box.pid}/ns/time")
    assert float(second.output("cat", "/proc/uptime").split()[0]) > 1000000


def test_several_by_path(box: Box, second: Box) -> None:
    """A pod: the second container shares all but its files with the first."""
    box.sleep()
    if not IS_ROOT:
        second.join_users(box.pid)
    shared = ("network", "ipc", "uts")
    for kind in shared:
        second.namespace(kind, f"/proc/{box.pid}/ns/{FILES[kind]}")
    del second.config["hostname"]
    second.sleep()
    for kind in shared:
        assert namespace_id(second.pid, FILES[kind]) == namespace_id(box.pid, FILES[kind])
    assert namespace_id(second.pid, "mnt") != namespace_id(box.pid, "mnt")
    assert second.executed("hostname") == "box\n"


@pytest.mark.parametrize("path", ["/nowhere", "/etc/passwd", "proc/self/ns/net"])
def test_path_that_is_no_namespace(box: Box, path: str) -> None:
    box.namespace("network", path)
    box.refused()


def test_path_of_another_type(box: Box) -> None:
    with holder(*([] if IS_ROOT else ["--user", "--map-root-user"]), "--uts") as pid:
        box.namespace("network", f"/proc/{pid}/ns/uts")
        box.refused()


def test_duplicate(box: Box) -> None:
    box.linux["namespaces"].append({"type": "uts"})
    box.refused()


def test_unknown_type(box: Box) -> None:
    box.linux["namespaces"].append({"type": "nonsense"})
    box.refused()


def test_mappings(box: Box) -> None:
    box.map_users()
    found = [line.split() for line in box.output("cat", "/proc/self/uid_map").splitlines()]
    expected = [[str(one[key]) for key in ("containerID", "hostID", "size")] for one in box.linux["uidMappings"]]
    assert found == expected


def test_mapping_shows_in_files(box: Box) -> None:
    box.map_users()
    box.process["user"] = {"uid": 1000, "gid": 29}
    box.sh("touch /tmp/file")
    made = os.stat(box.root / "tmp/file")
    map_ = box.linux["uidMappings"][-1]
    assert made.st_uid == map_["hostID"] + 1000 - map_["containerID"]


def test_user_namespace_of_one_id(box: Box) -> None:
    box.map_users()
    for name, own in (("uidMappings", os.getuid()), ("gidMappings", os.getgid())):
        box.linux[name] = [{"containerID": 0, "hostID": own or box.linux[name][0]["hostID"], "size": 1}]
    box.drop_mount("/dev/pts")
    box.mount("/dev/pts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620")
    assert box.sh("id -u; wc -l </proc/self/uid_map") == "0\n1\n"


def test_identity_other_than_root(box: Box) -> None:
    """The caller is an ordinary user inside: what ``--userns keep-id`` asks for."""
    box.map_users()
    for name in ("uidMappings", "gidMappings"):
        first, *_ = box.linux[name]
        if IS_ROOT:
            box.linux[name] = [{"containerID": 0, "hostID": first["hostID"], "size": 2000}]
            continue
        given = box.linux[name][1]["hostID"]
        box.linux[name] = [
            {"containerID": 0, "hostID": given, "size": 1000},
            {"containerID": 1000, "hostID": first["hostID"], "size": 1},
            {"containerID": 1001, "hostID": given + 1000, "size": 1000},
        ]
    box.process["user"] = {"uid": 1000, "gid": 1000}
    assert box.sh("id -u; id -g") == "1000\n1000\n"


@pytest.mark.as_user
def test_mapping_of_foreign_ids(box: Box) -> None:
    box.linux["uidMappings"] = [{"containerID": 0, "hostID": 0, "size": 1}]
    box.refused()


def test_user_namespace_without_mappings(box: Box) -> None:
    box.namespace("user")
    for name in ("uidMappings", "gidMappings"):
        box.linux.pop(name, None)
    done = box.run()
    # Refused, or given a map of the runtime's choice: never a container without one.
    assert done.code != 0 or box.output("cat", "/proc/self/uid_map").split()


def test_hostname(box: Box) -> None:
    box.config["hostname"] = "name.of.box"
    assert box.sh("hostname; cat /proc/sys/kernel/hostname") == "name.of.box\n" * 2


def test_hostname_without_uts_namespace(box: Box) -> None:
    before = os.uname().nodename
    box.host_namespace("uts")
    box.config["hostname"] = before  # a runtime that sets it nevertheless does no harm
    box.refused()


@pytest.mark.since("domainname")
def test_domainname(box: Box) -> None:
    box.config["domainname"] = "example.org"
    assert box.output("cat", "/proc/sys/kernel/domainname") == "example.org\n"


@pytest.mark.since("time namespace")
def test_time_offsets(box: Box) -> None:
    box.namespace("time")
    box.linux["timeOffsets"] = {"monotonic": {"secs": 3000, "nanosecs": 7}, "boottime": {"secs": 2000000}}
    out = box.sh("cat /proc/self/timens_offsets /proc/uptime")
    words = [line.split() for line in out.splitlines()]
    assert words[0] == ["monotonic", "3000", "7"] and words[1][:2] == ["boottime", "2000000"]
    assert float(words[2][0]) > 2000000


@pytest.mark.since("time namespace")
def test_time_offsets_without_a_time_namespace(box: Box) -> None:
    box.linux["timeOffsets"] = {"boottime": {"secs": 1000}}
    box.refused()


@pytest.mark.since("time namespace")
def test_time_offset_of_an_unknown_clock(box: Box) -> None:
    box.namespace("time")
    box.linux["timeOffsets"] = {"nonsense": {"secs": 1000}}
    box.refused()


def test_loopback_of_a_new_network(box: Box) -> None:
    assert "lo" in box.output("ip", "link")


def test_pid_namespace_begins_with_the_program(box: Box) -> None:
    assert box.sh("echo $$") == "1\n"


def test_ipc_namespace_is_empty(box: Box) -> None:
    box.mount("/dev/mqueue", "mqueue", *HIDDEN)
    assert box.output("ls", "/dev/mqueue") == ""
