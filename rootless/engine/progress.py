"""What a pull, load or import tells its user while it works.

The engine calls the methods of a ``Progress``; the CLI decides how it looks: bars on a terminal, ``PlainProgress``
elsewhere, the silent base class for ``--quiet``. All of it goes to stderr. Calls come from one thread only; digests
name blobs, sizes are bytes.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class Progress:
    """Says nothing. Subclasses override what they show."""

    def trying(self, name: str) -> None:
        """A full reference, or a local source, is about to be read."""

    def note(self, text: str) -> None:
        """One line that the user should see: a retry, a warning."""

    def found(self, digest: str, size: int) -> None:
        """A layer is in the store already; nothing is fetched."""

    def waiting(self, digest: str, size: int) -> None:
        """A layer will be fetched."""

    def downloaded(self, digest: str, done: int, size: int) -> None:
        """``done`` of ``size`` bytes of a layer are here; equal: it is whole and verified."""

    def unpacking(self, digest: str) -> None:
        """A layer's files are being written."""

    def unpacked(self, digest: str) -> None:
        """A layer is on disk for good."""

    def config(self, digest: str) -> None:
        """The image's configuration is here."""

    def recording(self) -> None:
        """All layers are there; the image is about to get its name."""

    def close(self) -> None:
        """It is over, well or not: give the terminal back."""


class PlainProgress(Progress):
    """One line for each step, as podman writes where there is no terminal."""

    def __init__(self, write: Callable[[str], object]) -> None:
        """``write`` is given lines with their newline, for example ``sys.stderr.write``."""
        self._write = write

    def trying(self, name: str) -> None:
        self._write(f"Trying to pull {name}...\n")

    def note(self, text: str) -> None:
        self._write(f"{text}\n")

    def found(self, digest: str, size: int) -> None:
        self._write(f"Copying blob {digest} skipped: already exists\n")

    def downloaded(self, digest: str, done: int, size: int) -> None:
        if done == size:
            self._write(f"Copying blob {digest} done\n")

    def config(self, digest: str) -> None:
        self._write(f"Copying config {digest} done\n")

    def recording(self) -> None:
        self._write("Writing manifest to image destination\n")
