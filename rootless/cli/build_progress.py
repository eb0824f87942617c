"""How a build looks: podman's lines, or on a terminal a table of what is being done."""

from __future__ import annotations

from rootless.build.screen import Screen
from rootless.cli import render

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Values = dict[str, Any]


def for_user(values: Values) -> Screen:
    """The screen that fits the options and where standard output goes."""
    return Screen() if values.get("quiet") else PlainScreen()


class PlainScreen(Screen):
    """Lines as podman writes them. Those of stages that are built at the same time are told apart by a prefix."""

    def __init__(self) -> None:
        self._names: list[str] = []

    def stages(self, names: list[str], platform: str) -> None:
        self._names = names

    def _prefix(self, stage: int) -> str:
        return f"[{stage + 1}/{len(self._names)}] " if len(self._names) > 1 else ""

    def step(self, stage: int, number: int, total: int, text: str) -> None:
        render.line(f"{self._prefix(stage)}STEP {number}/{total}: {text}")

    def cached(self, stage: int, image_id: str) -> None:
        render.line(f"--> Using cache {image_id}")

    def output(self, stage: int, data: bytes) -> None:
        render.write(data.decode("utf-8", "replace"))

    def made(self, stage: int, image_id: str) -> None:
        render.line(f"--> {image_id[:12]}")

    def note(self, text: str) -> None:
        render.line(text)

    def committing(self, names: list[str]) -> None:
        render.line(f"COMMIT {names[0] if names else ''}".rstrip())

    def named(self, name: str) -> None:
        render.line(f"Successfully tagged {name}")
