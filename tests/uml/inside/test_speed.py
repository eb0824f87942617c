"""Wall times beside podman's, with a scope of systemd for each container: the one place where both have that."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.bench.measure import Times, in_turn
from tests.uml.inside.session import LAYOUT, Session

ROUNDS = 5
RUN = ("run", "--rm", "--network", "none")


@pytest.fixture(scope="module")
def podman() -> Iterator[str]:
    """podman with the kernel's overlay and an image, whose ID this is."""
    configuration = Path.home() / ".config/containers"
    configuration.mkdir(parents=True)
    (configuration / "storage.conf").write_text('[storage]\ndriver = "overlay"\n')
    (configuration / "containers.conf").write_text('[engine]\nruntime = "crun"\ncgroup_manager = "systemd"\n')
    pull = ["podman", "pull", "-q", f"oci:{LAYOUT}:latest"]
    pulled = subprocess.run(pull, capture_output=True, text=True, check=True)
    yield pulled.stdout.strip()
    subprocess.run(["podman", "system", "migrate"], capture_output=True, check=False)
    shutil.rmtree(configuration)


def quietly(*command: str) -> Callable[[], None]:
    """A call that runs a command, which must succeed."""

    def call() -> None:
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)

    return call


def test_run_with_a_scope(podman: str, record_property: Callable[[str, object], None]) -> None:
    """``run --rm``, to take half of podman's time at most and better a third: told, and no more."""
    image = Session().ok("images", "--quiet").split()[0]
    peer, own = ("podman", *RUN, podman, "true"), ("rootless", *RUN, image, "true")
    times: Times = in_turn(quietly(*peer), quietly(*own), ROUNDS)
    middle = [sorted(each)[len(each) // 2] for each in times]
    figure = f"run --rm with a scope: podman {middle[0]:.2f} s, rootless {middle[1]:.2f} s, ratio {times.ratio:.2f}"
    record_property("figure", f"{figure} (goal 0.50, aim 0.33)")
