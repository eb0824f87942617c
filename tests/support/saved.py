"""Archives as `docker save` writes them, of layers that no tool would make."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence

from tests.support.images import host_platform
from tests.support.tarbytes import END, block, padded


def saved(images: Mapping[str, Sequence[bytes]]) -> bytes:
    """Tag → layers, base first, compressed or not; a layer that is not compressed is its own DiffID."""
    members: dict[str, bytes] = {}
    entries = []
    for tag, layers in images.items():
        names = []
        for data in layers:
            names.append(f"{hashlib.sha256(data).hexdigest()}.tar")
            members[names[-1]] = data
        diff_ids = [f"sha256:{name.removesuffix('.tar')}" for name in names]
        config = {**host_platform(), "rootfs": {"type": "layers", "diff_ids": diff_ids}, "config": {"Cmd": ["sh"]}}
        text = json.dumps(config).encode()
        members[f"{hashlib.sha256(text).hexdigest()}.json"] = text
        entries.append({
            "Config": f"{hashlib.sha256(text).hexdigest()}.json", "RepoTags": [tag], "Layers": names,
        })  # fmt: skip
    return archive({"manifest.json": json.dumps(entries).encode(), **members})


def archive(members: Mapping[str, bytes]) -> bytes:
    """A plain archive of files."""
    parts = [block(name.encode(), size=len(data)) + padded(data) for name, data in members.items()]
    return b"".join(parts) + END
