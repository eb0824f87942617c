"""What becomes of the images that were built: names, image lists, files, registries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rootless.engine.images.names import local_name
from rootless.errors import UsageError
from storage import jsonfast

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rootless.build.exports import Output
    from rootless.build.screen import Screen
    from rootless.build.state import State
    from rootless.engine.context import Engine
    from storage.images import Image
    from storage.oci import Index


class Results:
    """What the command line wants of the images; ``names`` are theirs. Raises UsageError."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values
        self._outputs: list[Output] = []
        if values.get("output"):
            from rootless.build.exports import parse

            self._outputs = parse(values["output"])
        words = [*(values.get("tag") or ()), *(name for output in self._outputs for name in output.names)]
        self.names = list(dict.fromkeys(local_name(word) for word in words))
        self._push = bool(values.get("push")) or any(output.push for output in self._outputs)
        if self._push and not self.names:
            raise UsageError("cannot push an image without a name", "give it one with --tag")

    def write(self, engine: Engine, state: State, image: Image) -> None:
        """Write the files that were asked for. Raises RootlessError, StorageError."""
        for output in self._outputs:
            from rootless.build.exports import write

            write(engine, output, state, image)

    def finish(self, engine: Engine, images: Sequence[Image], screen: Screen) -> None:
        """Make the lists, push, and write down what was built. Raises RootlessError, StorageError."""
        if len(images) > 1 and self.names:
            self._make_list(engine, images)
        name = self._values.get("manifest")
        if name:
            self._add_to_list(engine, name, images)
        for each in self.names:
            screen.named(each)
        if self._push:
            from rootless.build.bases import PULLING
            from rootless.engine.images.push import push
            from rootless.engine.progress import PlainProgress

            connection = {key: self._values[key] for key in PULLING if key in self._values}
            for each in self.names:
                push(engine, each, "", connection, PlainProgress(lambda text: screen.note(text.rstrip("\n"))))
        if self._values.get("iidfile"):
            _write(engine, self._values["iidfile"], f"sha256:{images[-1].id}".encode())
        if self._values.get("metadata_file"):
            _write(engine, self._values["metadata_file"], jsonfast.dump_bytes(self._metadata(images[-1])))

    def _make_list(self, engine: Engine, images: Sequence[Image]) -> None:
        """The names become those of a list of the images, whatever they named before."""
        import time

        from rootless.engine.images.manifests import entry_for, with_entry
        from storage import oci

        index: Index = {"schemaVersion": 2, "mediaType": oci.INDEX, "manifests": []}
        for image in images:
            index = with_entry(index, entry_for(image).descriptor)
        engine.store.lists.create(index, self.names, time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), {})

    def _add_to_list(self, engine: Engine, name: str, images: Sequence[Image]) -> None:
        from rootless.engine.images.manifests import create, entry_for

        create(engine, name, [entry_for(image) for image in images], amend=True)

    def _metadata(self, image: Image) -> dict[str, Any]:
        """As buildx writes it."""
        descriptor = {key: image.descriptor[key] for key in ("mediaType", "digest", "size")}
        found: dict[str, Any] = {
            "containerimage.config.digest": f"sha256:{image.id}",
            "containerimage.descriptor": descriptor,
            "containerimage.digest": image.digest,
        }
        if self.names:
            found["image.name"] = ",".join(self.names)
        return found


def _write(engine: Engine, path: str, data: bytes) -> None:
    from rootless.engine.outfile import new_file
    from storage import atomic

    with new_file(path, engine.store.caller_umask) as fd:
        atomic.write_all(fd, data)
