"""The power is cut while the store is being written: afterwards nothing that it lists is damaged."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator

import pytest

from tests.uml import image
from tests.uml.conftest import FIGURES
from tests.uml.inside.session import LARGE_LAYOUT
from tests.uml.machine import BARE, Machine, machine

pytestmark = pytest.mark.timeout(900)

# What is done over and over until the power goes; $N is another number each time.
WORK = {
    "pull": f"rootless rmi --all --force; rootless pull --quiet oci:{LARGE_LAYOUT}:latest",
    "run": (
        "rootless run --network none --name c$N localhost/large"
        " sh -c 'rm -r /data; dd if=/dev/zero of=/new bs=64k count=9';"
        " rootless run --rm --network none localhost/large md5sum -c -s /data/SUMS"
    ),
    "commit": (
        "rootless run --network none --name c$N localhost/large sh -c 'dd if=/dev/urandom of=/new bs=64k count=30';"
        " rootless commit --quiet c$N localhost/committed:$N; rootless rm c$N"
    ),
}
PULL = f"rootless tag $(rootless pull --quiet oci:{LARGE_LAYOUT}:latest) localhost/large && sync"
CUTS = [*["pull"] * 4, *["run"] * 3, *["commit"] * 3]
LONGEST = 4.0  # seconds of work before the cut; one turn of it takes about half of that


@pytest.fixture(scope="module")
def worker() -> Iterator[Machine]:
    """A machine without systemd, which boots quickly; its store has the image ``localhost/large``."""
    try:
        with machine() as new:
            new.boot(BARE)
            new.ok("python -m tests.uml.inside.prepare && rootless rmi --all --force")
            yield new
    except image.Unavailable as lack:
        pytest.skip(f"needs a machine of User Mode Linux: {lack}")


@pytest.mark.parametrize("number", range(len(CUTS)))
def test_power_cut(worker: Machine, number: int) -> None:
    """The store is whole after the cut, and all that it lists can be used."""
    kind = CUTS[number]
    if kind != "pull":
        worker.ok(f"rootless image inspect localhost/large >/dev/null || {{ {PULL}; }}")
    delay = random.SystemRandom().uniform(0, LONGEST)
    output = worker.send(f"N=0; while :; do N=$((N + 1)); echo turn $N; {WORK[kind]}; done")
    while not output.stat().st_size:
        time.sleep(0.01)
    time.sleep(delay)
    worker.cut_power()
    worker.boot(BARE)
    found = worker.run("python -m tests.uml.inside.verify", timeout=200)
    FIGURES.append(f"power cut {number + 1}, {delay:.2f} s into {kind}: {found.output.splitlines()[-1:]}")
    assert found.code == 0, f"power cut {delay:.2f} s into {kind}\n{output.read_text()}\n{found.output}"
