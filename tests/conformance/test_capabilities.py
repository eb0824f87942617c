"""config.md, "Linux Process": the five sets of capabilities."""

from __future__ import annotations

import pytest

from tests.conformance.support import Box

SETS = {
    "inheritable": "CapInh",
    "permitted": "CapPrm",
    "effective": "CapEff",
    "bounding": "CapBnd",
    "ambient": "CapAmb",
}
CHOWN, KILL, SETUID, NET_BIND_SERVICE, AUDIT_WRITE = (1 << bit for bit in (0, 5, 7, 10, 29))


def sets(box: Box) -> dict[str, int]:
    lines = dict(line.split(":") for line in box.sh("grep ^Cap /proc/self/status").splitlines())
    return {kind: int(lines[name], 16) for kind, name in SETS.items()}


def test_none(box: Box) -> None:
    box.process["capabilities"] = {}
    assert sets(box) == dict.fromkeys(SETS, 0)


def test_absent(box: Box) -> None:
    box.process.pop("capabilities")
    assert sets(box)["effective"] == 0


def test_each_set_of_root(box: Box) -> None:
    given = ["CAP_CHOWN", "CAP_KILL"]
    box.process["capabilities"] = {kind: given for kind in ("bounding", "effective", "permitted")}
    found = sets(box)
    assert found == {"inheritable": 0, "permitted": 33, "effective": 33, "bounding": 33, "ambient": 0}


def test_bounding_limits_what_root_regains(box: Box) -> None:
    box.process["capabilities"] = {"bounding": ["CAP_CHOWN"], "effective": ["CAP_CHOWN"], "permitted": ["CAP_CHOWN"]}
    out = box.sh("grep CapEff /proc/self/status; chown 5 /tmp && ! hostname other 2>/dev/null && echo held")
    assert "held" in out and int(out.split()[1], 16) == CHOWN


def test_inheritable(box: Box) -> None:
    given = ["CAP_NET_BIND_SERVICE"]
    box.process["capabilities"] = {kind: given for kind in ("bounding", "effective", "permitted", "inheritable")}
    assert sets(box)["inheritable"] == NET_BIND_SERVICE


def test_ambient_reaches_an_ordinary_user(box: Box) -> None:
    box.process["user"] = {"uid": 1000, "gid": 1000}
    box.process["capabilities"] = {kind: ["CAP_NET_BIND_SERVICE"] for kind in SETS}
    assert sets(box) == dict.fromkeys(SETS, NET_BIND_SERVICE)


def test_ordinary_user_has_none_without_ambient(box: Box) -> None:
    box.process["user"] = {"uid": 1000, "gid": 1000}
    found = sets(box)
    assert found["effective"] == 0 and found["permitted"] == 0 and found["bounding"] != 0


def test_ambient_of_root(box: Box) -> None:
    box.process["capabilities"] = {kind: ["CAP_KILL"] for kind in SETS}
    assert sets(box) == dict.fromkeys(SETS, KILL)


def test_unknown_name_does_not_stop_the_container(box: Box) -> None:
    for kind in ("bounding", "effective", "permitted"):
        box.process["capabilities"][kind] = ["CAP_CHOWN", "CAP_NONSENSE"]
    assert sets(box)["effective"] == CHOWN


def test_unknown_name_is_told(box: Box) -> None:
    box.process["capabilities"]["effective"] = box.process["capabilities"]["permitted"] = ["CAP_CHOWN", "CAP_NONSENSE"]
    box.process["args"] = ["true"]
    box.write()
    log = box.home / "log"
    done = box.call("--log", str(log), "run", "--bundle", str(box.bundle), box.id)
    assert done.code == 0 and "CAP_NONSENSE" in done.err + log.read_text()


@pytest.mark.as_root
def test_what_the_caller_lacks_is_left_out(box: Box) -> None:
    box.prefix = ["setpriv", "--bounding-set", "-net_bind_service", "--inh-caps", "-net_bind_service"]
    given = ["CAP_CHOWN", "CAP_NET_BIND_SERVICE"]
    box.process["capabilities"] = {kind: given for kind in ("bounding", "effective", "permitted")}
    assert sets(box) == {"inheritable": 0, "permitted": 1, "effective": 1, "bounding": 1, "ambient": 0}


@pytest.mark.parametrize("name", ["CAP_AUDIT_WRITE", "CAP_SYS_ADMIN", "CAP_CHECKPOINT_RESTORE"])
def test_single(box: Box, name: str) -> None:
    box.process["capabilities"] = {kind: [name] for kind in ("bounding", "effective", "permitted")}
    assert bin(sets(box)["effective"]).count("1") == 1
