"""A machine whose AppArmor has no profile for containers: they go without, unless one was asked for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.uml.machine import Machine
from tests.uml.second import PACKAGES

pytestmark = pytest.mark.timeout(900)

CURRENT = "cat /proc/self/attr/current"
RUN = "rootless run --rm --network none"
IMAGE = "localhost/busybox"


@pytest.fixture
def unloading(booted: Machine) -> Iterator[Machine]:
    """The machine; afterwards it has the profile again."""
    yield booted
    booted.ok(f"sh {PACKAGES}/contrib/apparmor/install", user="root")


def test_without_the_profile_row_64(unloading: Machine) -> None:
    """security row 64: what is asked for is refused, what is not is left out and told; a later start has it again."""
    loaded = unloading.ok(f"rootless create --name c --network none {IMAGE} {CURRENT} && rootless start -a c")
    assert loaded.endswith("rootless-container (enforce)\n")
    unloading.ok("apparmor_parser --remove /etc/apparmor.d/rootless-container", user="root")
    assert unloading.ok(f"{RUN} {IMAGE} {CURRENT}") == "unconfined\n"
    assert unloading.ok("rootless start -a c") == "unconfined\n"
    template = "{{.AppArmorProfile}}|{{.Isolation.LSM.Less}}|{{.Isolation.LSM.Why}}"
    shown = unloading.ok(f"rootless inspect --format '{template}' c")
    assert shown.startswith("|true|AppArmor: no profile")
    for option in ("rootless-container", "nothing-of-the-kind"):
        refused = unloading.run(f"{RUN} --security-opt apparmor={option} {IMAGE} echo started")
        assert refused.code == 125 and "is not loaded" in refused.output and "started" not in refused.output
    asked = f"rootless create --name asked --security-opt apparmor=forbidden --network none {IMAGE} true"
    unloading.ok(asked)
    unloading.ok("apparmor_parser --remove /etc/apparmor.d/forbidden", user="root")
    refused = unloading.run("rootless start -a asked")
    unloading.ok("apparmor_parser --replace /etc/apparmor.d/forbidden", user="root")
    assert refused.code == 125 and "the AppArmor profile forbidden: it is not loaded" in refused.output
    advice = unloading.ok("rootless doctor")
    assert "profile rootless-container is not loaded" in advice and "contrib/apparmor/install" in advice
    unloading.ok(f"sh {PACKAGES}/contrib/apparmor/install", user="root")
    assert unloading.ok("rootless start -a c") == "rootless-container (enforce)\n"
    assert unloading.ok("rootless rm c asked").split() == ["c", "asked"]
