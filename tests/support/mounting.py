"""Mounting a ``RootfsMount`` with the system's own tools, independent of the runtime; inside a user namespace."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.support import layers

if TYPE_CHECKING:
    from storage.drivers.base import RootfsMount


def mount(root: RootfsMount) -> str:
    """Mount ``root`` (needs an own mount namespace) and return the root directory."""
    if root["kind"] == "directory":
        return root["merged"]
    lower = root["lower_links"] or root["lower"]
    options = ["lowerdir=" + ":".join(lower)]
    if root["upper"]:
        options += [f"upperdir={root['upper']}", f"workdir={root['work']}"]
    text = ",".join([*options, *root["options"]])
    if root["kind"] == "overlay":
        command = ["mount", "-t", "overlay", "overlay", "-o", text, root["merged"]]
    else:
        command = [root["helper"], "-o", text, root["merged"]]
    done = subprocess.run(command, cwd=root["links"] or "/", capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(22, f"{command}: {done.stderr.strip()}")
    return root["merged"]


def inside(root: RootfsMount, function: Callable[[Path], Any], run: Callable[..., Any] = layers.evaluate) -> Any:
    """Mount ``root`` in fresh namespaces and return what ``function`` makes of the root directory (as JSON can)."""
    return run(lambda: seen(root, function), mount_ns=True)


def seen(root: RootfsMount, function: Callable[[Path], Any]) -> Any:
    """Mount ``root`` (needs an own mount namespace), return what ``function`` makes of it, and unmount it."""
    merged = mount(root)
    try:
        return function(Path(merged))
    finally:
        if root["kind"] != "directory":
            _unmount(merged)


def _unmount(merged: str) -> None:
    """The helper of a FUSE mount may still be busy with what we did last."""
    for _ in range(50):
        if subprocess.run(["umount", merged], capture_output=True, check=False).returncode == 0:
            return
        time.sleep(0.05)


def probe(root: RootfsMount, run: Callable[..., Any] = layers.evaluate) -> str:
    """A probe as ``storage.drivers.choose`` wants it."""

    def look(merged: Path) -> str:
        (merged / "new").write_text("x")
        (merged / "kept").write_text("changed")
        os.rename(merged / "new", merged / "renamed")
        return "" if sorted(os.listdir(merged)) == ["kept", "renamed"] else f"wrong content: {os.listdir(merged)}"

    try:
        return str(inside(root, look, run))
    except OSError as error:
        return str(error)
