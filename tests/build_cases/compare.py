"""What of two images must be equal."""

from __future__ import annotations

import hashlib
from collections.abc import Container
from typing import Any

from tests.build_cases.case import Case, D, F, L, Node
from tests.build_cases.trees import Entry, Image, Tree

KEYS = (
    "Env", "Cmd", "Entrypoint", "User", "WorkingDir", "Labels", "ExposedPorts", "Volumes", "Healthcheck", "StopSignal",
    "OnBuild", "Shell",
)  # fmt: skip
BASE_DIGEST = "org.opencontainers.image.base.digest"
OWN_LABEL = "io.buildah.version"
"""A label in which each program puts its own version."""
MOUNT_POINTS = ("etc/hostname", "etc/hosts", "etc/resolv.conf", "run/.containerenv", "run/secrets")
"""Where buildah mounts something of its own; if the image had nothing there it leaves something empty."""
NOT_IN_OCI = ("Healthcheck", "OnBuild", "Shell")
"""Keys that the OCI image specification does not have: the peer leaves them out there."""


def differences(
    case: Case, ours: Image, theirs: Image, begun: float, bases: Container[str]
) -> dict[str, str]:
    """What is not equal: by path, or by key of the configuration, what each has.

    ``begun``: when the first build began, in seconds; ``bases`` are the digests of the manifests of the bases.
    """
    found: dict[str, str] = {}
    for path in sorted(ours.tree.keys() | theirs.tree.keys()):
        one, other = _told(ours.tree.get(path), begun), _told(theirs.tree.get(path), begun)
        if one != other and not (path in MOUNT_POINTS and one is None and theirs.tree[path].size == 0):
            found[path] = f"{one} ≠ {other}"
    for key in KEYS:
        if key in NOT_IN_OCI and not case.docker:
            continue
        one, other = _setting(ours, key), _setting(theirs, key)
        if one != other:
            found[key] = f"{one} ≠ {other}"
    for key in ("architecture", "os", "os.version", "os.features", "author"):
        if (ours.config.get(key) or "") != (theirs.config.get(key) or ""):
            found[key] = f"{ours.config.get(key)} ≠ {theirs.config.get(key)}"
    one, other = _annotations(ours), _annotations(theirs)
    if BASE_DIGEST in other and other[BASE_DIGEST] not in bases:  # an image between two stages or steps
        one.pop(BASE_DIGEST, None)
        other.pop(BASE_DIGEST)
    if one != other:
        found["annotations"] = f"{one} ≠ {other}"
    return found


def unexpected(case: Case, ours: Image, base: Image) -> dict[str, str]:
    """As `differences`, from what the case expects of the changes to the base."""
    found: dict[str, str] = {}
    if case.tree is not None:
        changed = {path for path in ours.tree | base.tree if _changed(path, ours.tree, base.tree)}
        for path in sorted(changed | set(case.tree)):
            if problem := _mismatch(case.tree.get(path), ours.tree.get(path)):
                found[path] = problem
    for key, value in (case.config or {}).items():
        setting = _setting(ours, key.rstrip("+"))
        if key.endswith("+"):
            setting = [text for text in setting if text not in _setting(base, key.rstrip("+"))]
        if setting != value:
            found[key] = f"{setting} ≠ {value}"
    return found


def _changed(path: str, tree: Tree, base: Tree) -> bool:
    one, other = tree.get(path), base.get(path)
    if one and other and one.kind == other.kind == "dir":
        return one[:4] != other[:4]
    return one != other and not (path == "." and one and one.kind == "dir")


def _mismatch(node: Node | None, entry: Entry | None) -> str:
    if node is None or entry is None:
        return "" if node is None and entry is None else f"{entry} ≠ {node!r}"
    if isinstance(node, L):
        right = (entry.kind, entry.content) == ("link", node.target)
    elif isinstance(node, D):
        right = entry[:4] == ("dir", node.mode, node.uid, node.gid)
    else:
        file = node if isinstance(node, F) else F(node)
        data = file.data.encode() if isinstance(file.data, str) else file.data
        same = data == b"*" or entry.content == hashlib.sha256(data).hexdigest()[:16]
        right = data == b"*" or (same and entry[:4] == ("file", file.mode, file.uid, file.gid))
    return "" if right else f"{entry} ≠ {node!r}"


def _told(entry: Entry | None, begun: float) -> Any:
    """What is compared of an entry: times only of what was not made by the build, and not those of directories."""
    if entry is None:
        return None
    when = entry.mtime if entry.kind in ("file", "link") and entry.mtime < begun - 60 else "new"
    mode = 0o777 if entry.kind == "link" else entry.mode
    return (*entry[:1], oct(mode), *entry[2:7], when if entry.kind != "dir" else "", sorted(entry.links))


def _setting(image: Image, key: str) -> Any:
    value = (image.config.get("config") or {}).get(key) or None
    if key == "Labels" and value:
        return {name: text for name, text in value.items() if name != OWN_LABEL} or None
    return value


def _annotations(image: Image) -> dict[str, str]:
    """Those that say something: buildah writes empty ones where there is no base."""
    return {name: text for name, text in (image.manifest.get("annotations") or {}).items() if text}
