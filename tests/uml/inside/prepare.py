"""Images for the tests: ``python -m tests.uml.inside.prepare``, in the machine."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

from tests.support import images
from tests.uml.inside.session import IMAGE, LARGE_LAYOUT, LAYOUT, Session
from tests.uml.inside.verify import SUMS


def large_layout(target: Path) -> None:
    """An OCI image layout of busybox with 8 MiB in many files of three layers, and their checksums."""
    layout = images.Layout(target)
    layers = [layout.add_layer(images.busybox_tar())]
    sums = []
    dice = random.Random(1)
    for layer in ("a", "b", "c"):
        files = {f"data/{layer}{number}": dice.randbytes(dice.randrange(1, 90_000)) for number in range(60)}
        sums += [f"{hashlib.md5(data).hexdigest()}  /{path}\n" for path, data in files.items()]
        entries = [images.file(path, data) for path, data in files.items()]
        if layer == "c":
            entries.append(images.file(SUMS[1:], "".join(sums).encode()))
        layers.append(layout.add_layer(images.tar_of([images.directory("data"), *entries])))
    layout.add_image("latest", layers, {"Cmd": ["sh"]})


def main() -> None:
    """Make a small image and a large one, and take the small one into the user's store."""
    images.busybox_layout(Path(LAYOUT))
    large_layout(Path(LARGE_LAYOUT))
    session = Session()
    session.ok("tag", session.ok("pull", "--quiet", f"oci:{LAYOUT}:latest").strip(), IMAGE)


if __name__ == "__main__":
    main()
