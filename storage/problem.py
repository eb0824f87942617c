"""What a check of the store yields, and what it works with."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from storage.artifacts import Artifact
    from storage.images import Image
    from storage.layers_unpack import Confine, InUserns
    from storage.trees import DeleteTree

    Fetch = Callable[[Image | Artifact, str, int], bool]


class Means:
    """What a check needs of others, who know more than storage does, and what it was asked for.

    ``in_userns`` and ``confine`` are those of ``layers_unpack.unpack``; None: layers are not compared with their blobs.
    ``fetch(image, digest, size)`` puts a blob of an image into the store once more, from where the image came from;
    it returns False where that is not known, and raises ``StorageError`` where it fails. ``quick``: what takes long is
    left out. ``max_age``: seconds for which content that nothing needs is no finding.
    """

    __slots__ = ("confine", "delete_tree", "fetch", "in_userns", "max_age", "progress", "quick")

    def __init__(
        self, *, delete_tree: DeleteTree | None = None, in_userns: InUserns | None = None,
        confine: Confine | None = None, fetch: Fetch | None = None, quick: bool = False,
        max_age: float = 24 * 3600, progress: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.delete_tree = delete_tree
        self.in_userns = in_userns
        self.confine = confine
        self.fetch = fetch
        self.quick = quick
        self.max_age = max_age
        self.progress = progress


class Problem:
    """Something that is wrong: its ``kind``, the ``object`` by name, a ``text``, and what mends it (None: nothing).

    ``loses_data``: mending it removes something that cannot be had again.
    """

    __slots__ = ("kind", "loses_data", "mend", "object", "text")

    def __init__(
        self, kind: str, name: str, text: str, mend: Callable[[], object] | None = None, loses_data: bool = False
    ) -> None:
        self.kind = kind
        self.object = name
        self.text = text
        self.mend = mend
        self.loses_data = loses_data
