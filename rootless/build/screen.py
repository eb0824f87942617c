"""What a build tells its user while it works; the command line decides how it looks."""

from __future__ import annotations


class Screen:
    """Says nothing. Subclasses override what they show.

    ``interval``: milliseconds after which ``tick`` is called at the latest, or None. ``stage`` is the index of a stage
    in the file; ``platform`` is '' unless several are built for.
    """

    interval: int | None = None

    def tick(self) -> None:
        """Time has passed, or something was told."""

    def stages(self, names: list[str], platform: str) -> None:
        """A build of one platform begins: the names of the file's stages ('' for none), in order."""

    def step(self, stage: int, number: int, total: int, text: str) -> None:
        """An instruction begins, ``number`` of ``total``; ``text`` is its logical line."""

    def cached(self, stage: int, image_id: str) -> None:
        """The instruction needs not be done."""

    def output(self, stage: int, data: bytes) -> None:
        """What the command of the instruction prints."""

    def made(self, stage: int, image_id: str) -> None:
        """The instruction is done; the id is that of the image that has been made so far."""

    def done(self, stage: int) -> None:
        """The stage is done."""

    def note(self, text: str) -> None:
        """One line that the user should see, beside the output: a pull, a warning."""

    def committing(self, names: list[str]) -> None:
        """The image is about to be made."""

    def named(self, name: str) -> None:
        """The image has a name."""

    def close(self) -> None:
        """It is over, well or not: give the terminal back."""
