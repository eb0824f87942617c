"""An image list on its way out whose images are changed: it gets the digests that they have then."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rootless.engine.images.transports.outgoing import Outgoing, OutgoingIndex
from rootless.errors import UsageError
from storage import jsonfast, oci

if TYPE_CHECKING:
    from storage.oci import Descriptor

Change = Callable[[Outgoing, str], Outgoing]
"""Makes another image of one; new layers are files in the directory that is its second argument."""


def rewritten(index: OutgoingIndex, media_type: str, directory: str, change: Change) -> OutgoingIndex:
    """The list as a document of ``media_type`` with each of its images changed; itself if that changes nothing.

    Artifacts stay as they are. Raises UsageError for an image that is not in the store, and what ``change`` raises.
    """
    here = {image.digest: image for image in index.images}
    document = oci.check_index(jsonfast.loads_strict(index.data), index.media_type)
    images: list[Outgoing] = []
    entries: list[Any] = []
    for number, entry in enumerate(document["manifests"]):
        image = here.get(entry["digest"])
        if image is None:
            _check_kept(entry, media_type)
            entries.append(entry)
            continue
        place = f"{directory}/image-{number}"
        os.makedirs(place, 0o700, exist_ok=True)
        changed = change(image, place)
        images.append(changed)
        entries.append({**entry, **changed.descriptor})
    if entries == document["manifests"] and media_type == index.media_type:
        return index
    whole: dict[str, Any] = {**document, "schemaVersion": 2, "mediaType": media_type, "manifests": entries}
    if media_type == oci.DOCKER_INDEX:
        whole = {key: whole[key] for key in ("schemaVersion", "mediaType", "manifests")}
    return OutgoingIndex(jsonfast.dumps(whole).encode("ascii"), media_type, tuple(images), index.names)


def _check_kept(entry: Descriptor, media_type: str) -> None:
    """An entry that is not here can only stay what it is."""
    if "artifactType" in entry and media_type != oci.DOCKER_INDEX:
        return
    raise UsageError(
        f"cannot change the image {entry['digest']} of the list: it is not in the store",
        "leave out --format and --compression-format, or --all=false",
    )
