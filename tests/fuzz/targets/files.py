"""Targets: files of the image, of the host, of the store, and what other processes send."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from rootless import idmaps
from rootless.cgroups import dbus
from rootless.engine import event_reader
from rootless.engine.containers.loglines import Lines
from rootless.init import identity
from rootless.init.plan import User
from rootless.network import names
from storage import ownership
from storage.containers import Containers
from storage.store import Store
from tests.fuzz.targets.target import OURS, Target

_BASE = Path(tempfile.mkdtemp(prefix="fuzz-files-"))
_ROOT = _BASE / "root"
(_ROOT / "etc").mkdir(parents=True)
_ID = "0" * 64


def accounts(data: bytes) -> None:
    """passwd and group of an image: a user is found with ids in bounds, or there is an error."""
    user, _, rest = data.partition(b"\n")
    (_ROOT / "etc/passwd").write_bytes(rest)
    (_ROOT / "etc/group").write_bytes(rest)
    root = os.open(_ROOT, os.O_PATH)
    try:
        wanted = User(os.fsdecode(user), 0, 0, [], [], False, None)
        found = identity.resolve(root, wanted)
        assert 0 <= found.uid < 1 << 32
        assert all(0 <= gid < 1 << 34 for gid in found.groups)
        identity.account_files(root, wanted, found, "/")
    finally:
        os.close(root)


def subordinate_ids(data: bytes) -> None:
    """/etc/subuid: ranges within the ids that there are."""
    path = _BASE / "subuid"
    path.write_bytes(data)
    for first, length in idmaps._ranges(str(path), 1000, b"me"):
        assert 0 < first <= first + length - 1 <= idmaps.MAX_ID


def resolver(data: bytes) -> None:
    """The host's resolv.conf."""
    servers, domains, settings = names.parse_resolv(data.decode("utf-8", "surrogateescape"))
    assert not any("\n" in word or " " in word for word in (*servers, *domains, *settings))


def log_lines(data: bytes) -> None:
    """A container's log, damaged: shown as far as it can be, by the quick way and by the one that looks at times."""
    if data:
        assert len(b"".join(text for _, text in Lines().show(data + b"\n"))) <= len(data) + 1
        joined = Lines("name", 1, timestamps=True, since=1, until=1 << 62, join=True)
        joined.show(data + b"\n")
        joined.rest()


def event_lines(data: bytes) -> None:
    """A line of the log of events, torn or damaged."""
    event = event_reader._parse(data)
    assert event is None or isinstance(event["timeNano"], int)


def bus_messages(data: bytes) -> None:
    """What comes by the user's bus."""
    size = dbus._whole(data)
    assert 0 <= size <= len(data)
    if size:
        message = dbus.Message(data[:size])
        assert message.error is not None
        assert message.reply_to >= 0
        message.body()


def owners(data: bytes) -> None:
    """The sidecar of a layer: what could not be made real."""
    path = _BASE / "owners"
    path.write_bytes(data)
    ownership.load(str(path))


def container_record(data: bytes) -> None:
    """container.json, damaged: an error of its own, and the list goes on."""
    store = Store.open(str(_BASE / "data"), str(_BASE / "run"))
    directory = Path(store.layout.container(_ID))
    directory.mkdir(exist_ok=True)
    Path(store.layout.container_record(_ID)).write_bytes(data)
    containers: Containers = store.containers
    try:
        assert containers.load(_ID)["id"] == _ID
    except OURS:
        assert [name for name, _ in (containers.list(), containers.damaged)[1]] == [_ID]


TARGETS = (
    Target(accounts, [b"me:staff\nroot:x:0:0:root:/root:/bin/sh\nme:x:1000:50::/home/me:/bin/sh\nstaff:x:50:me,you\n",
                      b"1000\n1000:x:0:0::/:\n", b"4294967296\n", b":\n"]),
    Target(subordinate_ids, [b"me:100000:65536\n1000:200000:1\n", b"me:0:5\nme:4294967295:2\n#"]),
    Target(resolver, [b"nameserver 1.1.1.1\nnameserver fe80::1%eth0\nsearch a b\noptions ndots:2\n# x\n"]),
    Target(log_lines, [b"2026-11-25T04:41:02.706535414+00:00 stdout F hello\n"
                       b"2026-11-25T04:41:02.706535414+01:00 stderr P x"]),
    Target(event_lines, [
        b'{"Type":"container","Status":"start","ID":"a","Name":"b","Image":"c","timeNano":5,"Attributes":{}}']),
    Target(bus_messages, [
        dbus.encode(1, 1, {1: "/a", 2: "b.c", 3: "D"}, "sa(sv)", ("x", [("k", ("u", 5))]))],
        also=(dbus.Broken,)),
    Target(owners, [b'{"path": "a", "uid": 5, "gid": 6}\n{"path": "b", "link": "a"}\n{"path": "a", "gone": true}\n']),
    Target(container_record, [b'{"id": "%s", "name": "x", "options": {}}' % _ID.encode()]),
)  # fmt: skip
