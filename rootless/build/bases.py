"""What a stage begins with, and what ``--from=`` and ``from=`` mean: a stage, a named context, or an image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rootless.build.configure import DEFAULT_PATH
from rootless.build.state import BuiltLayer, State
from rootless.engine.images import platform as platforms
from rootless.engine.images.resolve import resolve

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rootless.engine.context import Engine
    from storage.images import Image

SCRATCH = "scratch"
# Of the image that was taken, and of nothing that is made of it.
_OWN = frozenset(("created", "rootfs", "history", "container", "container_config", "docker_version", "id"))
_PULLING = ("authfile", "cert_dir", "tls_verify", "creds", "retry", "retry_delay", "quiet")


def scratch(platform: str) -> State:
    """An image without any file."""
    wanted = platforms.wanted({"platform": platform})
    config: dict[str, Any] = {"architecture": wanted.architecture, "os": wanted.os}
    if wanted.variant:
        config["variant"] = wanted.variant
    return State({**config, "config": {"Env": [DEFAULT_PATH]}})


def of_image(engine: Engine, name: str, policy: str, values: Mapping[str, Any], platform: str) -> State:
    """An image of the store, or pulled into it as ``policy`` says. ``platform`` is '' where any will do.

    Raises NotFoundError, and what a pull raises.
    """
    asked = {key: values[key] for key in _PULLING if key in values}
    if platform:
        asked["platform"] = platform
    return state_of(resolve(engine, name, policy, asked))


def state_of(image: Image) -> State:
    """The state that an image is."""
    layers = tuple(BuiltLayer(layer, diff_id) for layer, diff_id in zip(image.layers, image.diff_ids, strict=True))
    config = {key: value for key, value in image.config.items() if key not in _OWN}
    return State(config, layers, tuple(image.config.get("history") or ()))
