"""What the user's systemd may not give away is refused, and the hint that says how to mend that is right."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

import pytest

from tests.uml.inside.session import IMAGE
from tests.uml.machine import Machine

pytestmark = pytest.mark.timeout(900)

LIMITED = f"rootless run --rm --network none --device-read-iops /dev/ubda:500 {IMAGE} cat /sys/fs/cgroup/io.max"
OURS = "/etc/systemd/system/user@.service.d"
HINT = re.compile(
    r"^hint: as root write the lines (\[Service\]) and (Delegate=[a-z ]+) to (/\S+) and run (systemctl daemon-reload);"
    r" then run (systemctl --user daemon-reexec), or log in again$",
    re.M,
)


@pytest.fixture
def undelegated(booted: Machine) -> Iterator[Machine]:
    """The machine as Debian has it: the user's systemd may divide what systemd.service(5) gives it, which is no io."""
    booted.ok(f"mv {OURS} /root/kept && systemctl daemon-reload && systemctl restart user@1000.service", user="root")
    yield booted
    back = f"rm -rf {OURS} && mv /root/kept {OURS} && systemctl daemon-reload && systemctl restart user@1000.service"
    booted.ok(back, user="root")


def test_the_hint_mends_it(undelegated: Machine) -> None:
    """Followed word by word it gives the controller to containers, and those that run go on."""
    undelegated.ok(f"rootless run --detach --name before --network none {IMAGE} sleep 1000")
    refused = undelegated.run(LIMITED)
    assert refused.code == 125 and "the io controller of control groups is not delegated to this user" in refused.output
    assert "without io" in undelegated.ok("rootless doctor")
    found = HINT.search(refused.output)
    assert found, refused.output
    section, line, path, reload, renew = found.groups()
    write = f"mkdir -p $(dirname {path}) && printf '%s\\n' {shlex.quote(section)} {shlex.quote(line)} >{path}"
    undelegated.ok(f"{write} && {reload}", user="root")
    undelegated.ok(renew)
    assert "riops=500" in undelegated.ok(LIMITED)
    assert undelegated.ok("rootless exec before echo in && rootless rm --force --time 0 before").startswith("in\n")
