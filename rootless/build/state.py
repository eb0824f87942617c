"""What a build hands from step to step: an image under construction."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from storage.oci import Descriptor


class BuiltLayer(NamedTuple):
    """A layer that is in the store, as a blob and unpacked."""

    descriptor: Descriptor
    diff_id: str


class State(NamedTuple):
    """An image under construction; a step returns a new one and never changes what it was given.

    ``config`` is an image configuration (image-spec config.md) without ``rootfs`` and ``history``; ``layers`` are base
    first; ``history`` has the entries of the configuration. All layers are unpacked with the engine's default id map.
    ``inherited``: how many of the layers, the lowest, are those of an image that was not built here; ``annotations``:
    those of its manifest, and what tells which it was.
    """

    config: Mapping[str, Any]
    layers: tuple[BuiltLayer, ...] = ()
    history: tuple[Mapping[str, Any], ...] = ()
    inherited: int = 0
    annotations: Mapping[str, str] = MappingProxyType({})

    @property
    def settings(self) -> Mapping[str, Any]:
        """The part of the configuration that containers use: Env, User, WorkingDir, Shell …"""
        settings: Mapping[str, Any] = self.config.get("config") or {}
        return settings

    @property
    def diff_ids(self) -> list[str]:
        """The layers' DiffIDs, base first."""
        return [layer.diff_id for layer in self.layers]
