"""What connects containers."""

from __future__ import annotations

from rootless.engine.doctor.check import LESS, OK, Check, device, package

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_COST = "containers have no way out, but with --network host"


def checks() -> Iterator[Check]:
    """The device, then the programs."""
    yield tun()
    yield helpers()


def tun() -> Check:
    """The device that makes a container's interface."""
    from rootless.network import tunnel

    why = tunnel()
    if not why:
        return Check("tun", OK, "/dev/net/tun opens")
    command, advice = device("tun", "/dev/net/tun")
    if "filter" in why:
        command, advice = "", "start the container that this is in with --security-opt seccomp=unconfined"
    return Check("tun", LESS, why, _COST, command=command, advice=advice)


def helpers() -> Check:
    """pasta and slirp4netns."""
    from rootless import network
    from rootless.paths import helper

    found = [f"{name} is {path}" for name in ("pasta", "slirp4netns") if (path := helper(name))]
    if not found:
        command, advice = package("pasta")
        told = "neither pasta nor slirp4netns is installed"
        return Check("network", LESS, told, _COST, command=command, advice=advice)
    return Check("network", OK, f"{', '.join(found)}; {network.choose().kind} is used")
