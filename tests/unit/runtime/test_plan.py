"""From a Spec to a plan: pure, so it is shown as text; and what is refused before anything is made."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from rootless.errors import RootlessError
from rootless.idmaps import IdMap
from rootless.init import ops
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
mount tmpfs on /dev: nosuid mode=755 size=65536k
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
    assert sum(isinstance(step, ops.Device) for step in compiled(given).operations) == 6


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


@pytest.mark.parametrize(
    ("words", "recursive", "restrict", "relax", "propagation"),
    [
        (["bind"], False, 0, 0, 1 << 18),
        (["rbind", "rw"], True, 0, 0, 1 << 18),
        (["rbind", "ro", "rw"], True, 0, 0, 1 << 18),
        (["rbind", "rw", "ro", "nosuid"], True, 3, 0, 1 << 18),
        (["rbind", "rro", "rslave"], True, 1, 0, 1 << 19),
        (["bind", "exec", "dev", "suid", "shared"], False, 0, 14, 1 << 20),
        (["rbind", "noatime"], True, 0x10, 0x70, 1 << 18),
    ],
)
def test_bind_options(words: list[str], recursive: bool, restrict: int, relax: int, propagation: int) -> None:
    given = bundles.spec("true")
    given["mounts"] = [bundles.mount("/x/../y/./z", "bind", *words, source="/s")]
    step = compiled(given).operations[0]
    assert isinstance(step, ops.Bind)
    assert (step.target, step.recursive, step.restrict, step.relax, step.propagation) == (
        "/y/z", recursive, restrict, relax, propagation,
    )  # fmt: skip


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
        (broken(process__capabilities={"bounding": ["CAP_X"]}), "CAP_X"),
        (broken(process__apparmorProfile="p"), "AppArmor"),
        (broken(process__selinuxLabel="l"), "SELinux"),
        (broken(linux__mountLabel="l"), "SELinux"),
        (broken(linux__namespaces=[{"type": "pid"}]), "host's mount namespace"),
        (broken(linux__namespaces=[{"type": "x"}]), "type 'x'"),
        (broken(linux__namespaces=[{"type": "mount"}, {"type": "mount"}]), "two namespaces"),
        (broken(linux__namespaces=[{"type": "mount"}]), "host's UTS namespace"),
        (broken(hostname="h" * 65), "longer than 64"),
        (broken(mounts=[{"destination": "x"}]), "not an absolute path"),
        (broken(mounts=[{"destination": "//"}]), "root file system is there"),
        (broken(mounts=[{"destination": "/x", "type": "ext4"}]), "file system type 'ext4'"),
        (broken(mounts=[{"destination": "/x", "type": "bind", "source": "rel"}]), "not an absolute path"),
        (broken(mounts=[bundles.bind("/s", "/x", "bad=1")]), "unknown mount option 'bad'"),
        (broken(mounts=[bundles.bind("/s", "/x", "idmap")]), "with an id map"),
        (broken(mounts=[bundles.bind("/s", "/proc")]), "inside /proc"),
        (broken(mounts=[bundles.mount("/proc/x", "tmpfs")]), "inside /proc"),
        (broken(linux__maskedPaths=["relative"]), "not an absolute path"),
        (broken(linux__devices=[{"path": "/dev/x", "type": "p"}]), "type 'p'"),
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
