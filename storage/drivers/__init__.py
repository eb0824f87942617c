"""Storage drivers: kernel overlay, fuse-overlayfs and copy, and the choice between them."""

from __future__ import annotations

import os

from storage import atomic, jsonfast
from storage.errors import StorageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from storage.drivers.base import Driver, InUserns, RootfsMount
    from storage.layout import Layout

    Probe = Callable[[RootfsMount], str]
    """Mounts the value in a user namespace, makes a file, replaces one of a lower layer, removes another, and unmounts;
    returns an empty text, or why it does not work. Raises StorageError where it could not try."""

NAMES = ("overlay", "fuse-overlayfs", "copy")
_ASKED = "it was asked for"


def choose(layout: Layout, probe: Probe, in_userns: InUserns, wanted: str = "") -> Driver:
    """The driver ``wanted``, else the first of overlay, fuse-overlayfs and copy that works for this store.

    What works is found by mounting, and remembered in the run directory until the next boot; a choice that was made
    because another driver could not be tried (a full disk, a killed helper) is for this time alone. Raises StorageError
    for an unknown name, or a driver that is asked for and does not work.
    """
    if wanted and wanted not in NAMES:
        raise StorageError(f"cannot use the storage driver {wanted}: unknown", hint=f"known are {', '.join(NAMES)}")
    signature = _signature(layout)
    name, why = _remembered(layout, signature, wanted)
    if not name:
        name, why, tried = _find(layout, probe, wanted)
        if tried:
            atomic.write(
                layout.driver_cache,
                jsonfast.dump_bytes({"signature": signature, "wanted": wanted, "name": name, "why": why}),
                durable=False,
            )
    return _make(layout, name, why, in_userns)


def _signature(layout: Layout) -> str:
    """Changes with the boot, the kernel and the place of the store."""
    with open("/proc/sys/kernel/random/boot_id", "rb", buffering=0) as file:
        boot = file.read(36).decode("ascii")
    return f"{boot} {os.uname().release} {layout.data}"


def _remembered(layout: Layout, signature: str, wanted: str) -> tuple[str, str]:
    try:
        with open(layout.driver_cache, "rb", buffering=0) as file:
            known = jsonfast.loads(file.read())
        if known["signature"] == signature and known["wanted"] == wanted and known["name"] in NAMES:
            return known["name"], str(known["why"])
    except (OSError, StorageError, KeyError, TypeError):
        pass  # none yet, or not ours: it is only a cache
    return "", ""


def _make(layout: Layout, name: str, why: str, in_userns: InUserns) -> Driver:
    if name == "overlay":
        from storage.drivers.overlay import OverlayDriver

        return OverlayDriver(layout, why)
    if name == "fuse-overlayfs":
        from storage.drivers.fuse_overlayfs import FuseOverlayfsDriver, find_helper

        return FuseOverlayfsDriver(layout, why, find_helper())
    return copying(layout, why, in_userns)


def copying(layout: Layout, why: str, in_userns: InUserns) -> Driver:
    """The driver that works everywhere."""
    from storage.drivers.copy import CopyDriver

    return CopyDriver(layout, why, in_userns)


def _find(layout: Layout, probe: Probe, wanted: str) -> tuple[str, str, bool]:
    """Try the drivers in order; returns the name, why it was chosen, and whether each one asked has really answered."""
    from storage.drivers import trial

    if wanted == "copy":
        return wanted, _ASKED, True
    tried = True
    reasons: list[str] = []
    for name in (wanted,) if wanted else ("overlay", "fuse-overlayfs"):
        try:
            reason = trial.overlay(layout, probe) if name == "overlay" else trial.fuse_overlayfs(layout, probe)
        except StorageError as error:
            tried, reason = False, error.message
        if not reason:
            why = _ASKED if wanted else "; ".join([*reasons, f"{name} mounts in a user namespace here"])
            return name, why, tried
        if wanted:
            hint = "leave it to the program to take one that works here"
            raise StorageError(f"cannot use the storage driver {wanted}: {reason}", hint)
        reasons.append(f"no {name}: {reason}")
    return "copy", "; ".join(reasons), tried
