"""From a Spec to a plan: pure, so it is shown as text; and what is refused before anything is made."""

from __future__ import annotations

import copy
from struct import unpack
from typing import Any

import pytest

from rootless.errors import RootlessError
from rootless.idmaps import IdMap
from rootless.init import devices, ops
from rootless.init.plan import Plan
from rootless.runtime import plan, validate
from rootless.runtime.bundle import directory_root
from tests.support import bundles

MAP = IdMap([(0, 1000, 1), (1, 100000, 65536)], [(0, 1000, 1), (1, 100000, 65536)], "")
SINGLE = IdMap([(0, 1000, 1)], [(0, 1000, 1)], "single")

PLAIN = """\
namespaces: cgroup ipc net ns pid user uts
uids: 0:1000:1 1:100000:65536
gids: 0:1000:1 1:100000:65536
root: directory /bundle/rootfs
mount proc on /proc: nosuid,nodev,noexec
mount tmpfs on /dev: nosuid,strictatime mode=755 size=65536k
device /dev/null: c 1:3
device /dev/zero: c 1:5
device /dev/full: c 1:7
device /dev/random: c 1:8
device /dev/urandom: c 1:9
device /dev/tty: c 5:0
links in /dev: fd stdin stdout stderr ptmx
mount sysfs on /sys: ro,nosuid,nodev,noexec
mount devpts on /dev/pts: nosuid,noexec ptmxmode=0666 mode=0620 gid=5
mount mqueue on /dev/mqueue: nosuid,nodev,noexec
mount tmpfs on /dev/shm: nosuid,nodev,noexec mode=1777 size=65536k
mount cgroup on /sys/fs/cgroup: ro,nosuid,nodev,noexec
bind /srv on /data: ro recursive
mount tmpfs on /tmp: nodev size=1m copy-up
sysctl: net/ipv4/ip_forward = 1
hostname: box
mask: /proc/acpi
mask: /proc/kcore
mask: /proc/keys
mask: /proc/interrupts
mask: /sys/firmware
read-only: /proc/bus
read-only: /proc/fs
read-only: /proc/irq
read-only: /proc/sys
read-only: /proc/sysrq-trigger
read-only: /
limit: NOFILE 1024:2048
user: web:www groups: ['audio']
capabilities: bounding=0x800405fb permitted=0x800405fb effective=0x800405fb inheritable=0x0 ambient=0x0
no_new_privs: True
seccomp: none
cwd: /srv (made if missing)
environment: A PATH TERM
init, then exec: ['/bin/true']"""


def compiled(given: dict[str, Any], idmap: IdMap = MAP, **extras: Any) -> Plan:
    document: Any = given
    options: Any = extras
    return plan.compile(document, directory_root("/bundle/rootfs"), idmap, options)


def test_plan_as_text() -> None:
    given = bundles.spec("/bin/true")
    given["mounts"] += [
        bundles.bind("/srv", "/data", "ro"),
        bundles.mount("/tmp", "tmpfs", "nodev", "size=1m", "tmpcopyup"),
    ]
    given["process"] |= {
        "cwd": "/srv",
        "noNewPrivileges": True,
        "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1024, "hard": 2048}],
    }
    given["process"]["env"].append("A=secret")
    given["root"]["readonly"] = True
    given["linux"]["sysctl"] = {"net.ipv4.ip_forward": "1"}
    before = copy.deepcopy(given)
    found = compiled(given, user="web:www", groups=["audio"], make_cwd=True, init_binary="reaper")
    assert "\n".join(found.describe()) == PLAIN
    assert given == before


def test_tty_group_needs_a_range() -> None:
    lines = compiled(bundles.spec("true"), SINGLE).describe()
    assert "mount devpts on /dev/pts: nosuid,noexec ptmxmode=0666 mode=0620" in lines


def test_dev_of_the_host_gets_no_devices() -> None:
    given = bundles.spec("true")
    given["mounts"] = [bundles.bind("/dev", "/dev")]
    assert [type(step) for step in compiled(given).operations] == [ops.Bind]


def test_root_without_dev_gets_the_default_devices() -> None:
    given = bundles.spec("true")
    given["mounts"] = []
    assert sum(isinstance(step, devices.Device) for step in compiled(given).operations) == 6


def test_further_device() -> None:
    given = bundles.spec("true")
    given["linux"]["devices"] = [
        {"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229},
        {"path": "/dev/null", "type": "c", "major": 1, "minor": 3},
    ]
    lines = compiled(given).describe()
    assert "device /dev/fuse: c 10:229" in lines
    assert sum("/dev/null" in line for line in lines) == 1


def test_names_by_sysctl() -> None:
    given = bundles.spec("true")
    del given["hostname"]
    given["linux"]["sysctl"] = {"kernel.hostname": "a", "kernel.domainname": "b"}
    found = compiled(given)
    assert (found.hostname, found.domainname, found.sysctls) == ("a", "b", [])


def test_joined_namespace() -> None:
    given = bundles.spec("true")
    given["linux"]["namespaces"][3] = {"type": "network", "path": "/proc/1/ns/net"}
    assert "join net: /proc/1/ns/net" in compiled(given).describe()


PRIVATE, SLAVE, SHARED = 1 << 18, 1 << 19, 1 << 20


@pytest.mark.parametrize(
    ("words", "recursive", "settings"),
    [
        (["bind"], False, [(0, 0, PRIVATE, True)]),
        (["rbind", "rw"], True, [(0, 0, PRIVATE, True), (0, 1, 0, False)]),
        (["rbind", "ro", "rw"], True, [(0, 0, PRIVATE, True), (0, 1, 0, False)]),
        (["rbind", "rw", "ro", "nosuid"], True, [(0, 0, PRIVATE, True), (3, 0, 0, False)]),
        (["rbind", "rro", "rslave"], True, [(1, 0, 0, True), (0, 0, SLAVE, True)]),
        (["rbind", "rro", "rnosuid", "rrw"], True, [(2, 1, PRIVATE, True)]),
        (["bind", "exec", "dev", "suid", "shared"], False, [(0, 14, 0, False), (0, 0, SHARED, False)]),
        (["rbind", "noatime"], True, [(0, 0, PRIVATE, True), (0x10, 0x70, 0, False)]),
        (["rbind", "rstrictatime", "rrelatime"], True, [(0, 0x70, PRIVATE, True)]),
        (["bind", "nosymfollow", "nodiratime"], False, [(0, 0, PRIVATE, True), (0x200080, 0, 0, False)]),
        (["bind", "defaults", "nofail", "silent"], False, [(0, 0, PRIVATE, True)]),
    ],
)
def test_bind_options(words: list[str], recursive: bool, settings: list[tuple[int, int, int, bool]]) -> None:
    given = bundles.spec("true")
    given["mounts"] = [bundles.mount("/x/../y/./z", "bind", *words, source="/s")]
    step = compiled(given).operations[0]
    assert isinstance(step, ops.Bind)
    assert (step.target, step.recursive, step.settings) == ("/y/z", recursive, settings)


ROOT = IdMap([(0, 0, 0xFFFFFFFF)], [(0, 0, 0xFFFFFFFF)], "own")


def test_root_makes_nodes_and_mounts_anything() -> None:
    given = bundles.spec("true")
    given["linux"]["namespaces"] = [{"type": "mount"}, {"type": "pid"}, {"type": "uts"}]
    given["linux"]["devices"] = [
        {"path": "/dev/null", "type": "c", "major": 1, "minor": 3, "fileMode": 0o600, "uid": 1, "gid": 2},
        {"path": "/run/pipe", "type": "p"},
    ]
    given["mounts"].append(bundles.mount("/disk", "ext4", "ro", "sync", "data=journal", source="/dev/sdx"))
    lines = compiled(given, ROOT).describe()
    assert "node /dev/null: c 1:3 600 1:2" in lines and "node /dev/zero: c 1:5 666 0:0" in lines
    assert lines.index("mount ext4 on /disk: ro data=journal sync ro") < lines.index("node /run/pipe: p 666 0:0")


def test_remount() -> None:
    given = bundles.spec("true")
    given["mounts"] = [
        bundles.mount("/a", "none", "remount", "bind", "ro"), bundles.mount("/b", "tmpfs", "remount", "size=1m", "rw"),
    ]  # fmt: skip
    lines = compiled(given).describe()
    assert "remount /a: ro" in lines and "remount /b: not-ro size=1m" in lines


def test_id_maps_of_mounts() -> None:
    rows = [{"containerID": 0, "hostID": 5, "size": 2}]
    given = bundles.spec("true")
    given["mounts"] = [
        bundles.bind("/s", "/a", "idmap"),
        bundles.bind("/s", "/b", "ridmap") | {"uidMappings": rows, "gidMappings": rows},
        bundles.bind("/s", "/c", "idmap=uids=0-1-2#5-6-7;gids=8-9-10"),
    ]
    found = compiled(given)
    first, second, third = (step for step in found.operations if isinstance(step, ops.Bind))
    assert found.idmapped
    assert (first.idmap, first.map_all) == ((MAP.uids, MAP.gids), False)
    assert (second.idmap, second.map_all) == (([(0, 5, 2)], [(0, 5, 2)]), True)
    assert third.idmap == ([(0, 1, 2), (5, 6, 7)], [(8, 9, 10)])


def test_unknown_capabilities_are_a_warning() -> None:
    given = bundles.spec("true")
    given["process"]["capabilities"] = {"bounding": ["CAP_KILL", "CAP_X"], "inheritable": ["CAP_KILL"]}
    found = compiled(given)
    assert (found.capabilities.bounding, found.capabilities.inheritable) == (32, 32)
    assert found.warnings == ["unknown capabilities in bounding are left out: CAP_X"]


def test_attributes_of_the_process() -> None:
    given = bundles.spec("true")
    given["process"] |= {
        "scheduler": {"policy": "SCHED_BATCH", "nice": 5, "flags": ["SCHED_FLAG_RESET_ON_FORK"]},
        "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 7},
        "execCPUAffinity": {"initial": "0", "final": "0-2,5"},
    }
    given["linux"]["memoryPolicy"] = {"mode": "MPOL_BIND", "nodes": "0,65", "flags": ["MPOL_F_STATIC_NODES"]}
    given["linux"]["namespaces"].append({"type": "time"})
    given["linux"]["timeOffsets"] = {"boottime": {"secs": 5}, "monotonic": {"secs": -1, "nanosecs": 7}}
    found = compiled(given)
    assert found.attributes
    assert unpack("=IIQiI", found.attributes.scheduler[:24]) == (56, 3, 1, 5, 0)
    assert len(found.attributes.scheduler) == 56
    assert found.attributes.io_priority == 2 << 13 | 7 and found.attributes.final == frozenset({0, 1, 2, 5})
    assert found.memory_policy == (2 | 1 << 15, (1 | 1 << 65).to_bytes(16, "little"))
    assert found.time_offsets == b"boottime 5 0\nmonotonic -1 7\n"


def broken(**changes: Any) -> dict[str, Any]:
    """A Spec with parts replaced; a name with two underscores reaches into a section."""
    given = bundles.spec("true")
    for name, value in changes.items():
        section, _, field = name.rpartition("__")
        target = given[section] if section else given
        if value is None:
            del target[field]
        else:
            target[field] = value
    return given


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (broken(ociVersion="2.0.0"), "ociVersion '2.0.0'"),
        (broken(ociVersion=None), "ociVersion None"),
        (broken(process=None), "without a process"),
        (broken(process=[]), "process in config.json is not of the type dict"),
        (broken(process__args=[]), "without a command"),
        (broken(process__args=["a\0b"]), "NUL character"),
        (broken(process__args=[1]), "is not a string"),
        (broken(process__cwd="relative"), "not an absolute path"),
        (broken(process__user={"uid": -1}), "-1 as process.user.uid"),
        (broken(process__user={"uid": 4294967295}), "4294967295 as process.user.uid"),
        (broken(process__user={"uid": True}), "True as process.user.uid"),
        (broken(process__user={"umask": 0o1000}), "umask"),
        (broken(process__rlimits=[{"type": "RLIMIT_X", "soft": 1, "hard": 1}]), "RLIMIT_X"),
        (broken(process__rlimits=[{"type": "RLIMIT_CPU", "soft": 2, "hard": 1}]), "soft 2 is above hard 1"),
        (broken(process__rlimits=[{"type": "RLIMIT_CPU", "soft": -1, "hard": 1}]), "-1 as soft limit"),
        (broken(process__oomScoreAdj=2000), "2000 as oomScoreAdj"),
        (broken(process__capabilities={"bounding": "CAP_KILL"}), "process.capabilities.bounding is not a list"),
        (broken(process__rlimits=[{"type": "RLIMIT_CPU", "soft": 1, "hard": 1}] * 2), "RLIMIT_CPU twice"),
        (broken(process__consoleSize={"height": 1}), "width of process.consoleSize"),
        (broken(process__scheduler={"policy": "SCHED_X"}), "'SCHED_X' as policy"),
        (broken(process__scheduler={"policy": "SCHED_FIFO", "nice": 1}), "nice of process.scheduler"),
        (broken(process__scheduler={"policy": "SCHED_OTHER", "priority": 1}), "priority of process.scheduler"),
        (broken(process__scheduler={"policy": "SCHED_OTHER", "runtime": 1}), "runtime, deadline and period"),
        (broken(process__scheduler={"policy": "SCHED_OTHER", "flags": ["X"]}), "'X' as flag"),
        (broken(process__ioPriority={"class": "IOPRIO_CLASS_NONE"}), "class of process.ioPriority"),
        (broken(process__ioPriority={"class": "IOPRIO_CLASS_BE", "priority": 8}), "8 as priority"),
        (broken(process__execCPUAffinity={"initial": "3-1"}), "'3-1' as execCPUAffinity.initial"),
        (broken(process__args=["x" * (128 << 10)]), "text of 131072 characters"),
        (broken(process__cwd="/" + "x" * 70_000), "path of 70001 characters"),
        (broken(linux__memoryPolicy={"mode": "MPOL_X"}), "'MPOL_X' as mode"),
        (broken(linux__memoryPolicy={"mode": "MPOL_BIND", "nodes": "a"}), "'a' as linux.memoryPolicy.nodes"),
        (broken(linux__timeOffsets={"boottime": {"secs": 1}}), "without a time namespace"),
        (broken(linux__netDevices={"eth0/x": {}}), "no name of one"),
        (broken(linux__netDevices={"a": {"name": "c"}, "b": {"name": "c"}}), "two network devices"),
        (broken(linux__netDevices={"e" * 16: {}}), "no name of one"),
        (broken(linux__intelRdt={"closID": "x"}), "linux.intelRdt"),
        (broken(annotations={"": "x"}), "annotation"),
        (broken(annotations={"x": 1}), "annotation 'x'"),
        (broken(process__apparmorProfile="p"), "AppArmor"),
        (broken(process__selinuxLabel="l"), "SELinux"),
        (broken(linux__mountLabel="l"), "SELinux"),
        (broken(linux__namespaces=[{"type": "pid"}]), "host's mount namespace"),
        (broken(linux__namespaces=[{"type": "x"}]), "type 'x'"),
        (broken(linux__namespaces=[{"type": "mount"}, {"type": "mount"}]), "two namespaces"),
        (broken(linux__namespaces=[{"type": "mount"}]), "host's UTS namespace"),
        (broken(hostname="h" * 65), "longer than 64"),
        (broken(mounts=[{"destination": "x"}]), "cannot bind ''"),
        (broken(mounts=[{"destination": "//"}]), "root file system is there"),
        (broken(mounts=[{"destination": "/x", "type": "ext4"}]), "file system type 'ext4'"),
        (broken(mounts=[{"destination": "/x", "type": "bind", "source": "rel"}]), "not an absolute path"),
        (broken(mounts=[bundles.bind("/s", "/x", "bad=1")]), "unknown mount option 'bad'"),
        (broken(mounts=[bundles.bind("/s", "/x", "idmap=up")]), "with the id map 'up'"),
        (broken(mounts=[bundles.mount("/x", "tmpfs", "idmap")]), "only a bind mount"),
        (broken(mounts=[bundles.bind("/s", "/x") | {"uidMappings": [{}]}]), "both uidMappings and gidMappings"),
        (broken(mounts=[bundles.mount("/x", "bind", "remount", "bind", "sync")]), "'sync' is not an option"),
        (broken(mounts=[bundles.bind("/s", "/proc")]), "inside /proc"),
        (broken(mounts=[bundles.mount("/proc/x", "tmpfs")]), "inside /proc"),
        (broken(linux__maskedPaths=["relative"]), "not an absolute path"),
        (broken(linux__devices=[{"path": "/dev/x", "type": "x"}]), "no type 'x'"),
        (broken(linux__devices=[{"path": "/dev/x", "type": "c"}]), "None as major number"),
        (broken(linux__devices=[{"path": "dev/x", "type": "p"}]), "not an absolute path"),
        (broken(linux__personality={"domain": "LINUX", "flags": ["X"]}), "flags of linux.personality"),
        (broken(linux__personality={"domain": "BSD"}), "personality 'BSD'"),
        (broken(linux__rootfsPropagation="sideways"), "propagation 'sideways'"),
        (broken(linux__sysctl={"net.ipv4.x": "1\n2"}), "more than one line"),
    ],
)
def test_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(RootlessError) as caught:
        compiled(given)
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("net.ipv4.ip_forward", "net/ipv4/ip_forward"),
        ("net/ipv4/conf/eth0.100/rp_filter", "net/ipv4/conf/eth0.100/rp_filter"),
        ("net.ipv4.conf.eth0/100.rp_filter", "net/ipv4/conf/eth0.100/rp_filter"),
        ("kernel.shmmax", "kernel/shmmax"),
    ],
)
def test_sysctl_path(key: str, path: str) -> None:
    assert validate.sysctl_path(key) == path
