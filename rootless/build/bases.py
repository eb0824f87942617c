"""What a stage begins with, and what ``--from=`` and ``from=`` mean: a stage, a named context, or an image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rootless.build.state import BuiltLayer, State
from rootless.containerfile.configure import DEFAULT_PATH
from rootless.engine.images import platform as platforms
from rootless.engine.images.names import name_of
from rootless.engine.images.resolve import resolve
from rootless.errors import NotFoundError
from storage.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rootless.engine.context import Engine
    from storage.images import Image

SCRATCH = "scratch"
BASE_NAME = "org.opencontainers.image.base.name"
BASE_DIGEST = "org.opencontainers.image.base.digest"
"""Annotations of a manifest (image-spec annotations.md)."""
# Of the image that was taken, and of nothing that is made of it.
_OWN = frozenset(("created", "rootfs", "history", "container", "container_config", "docker_version", "id"))
PULLING = ("authfile", "cert_dir", "tls_verify", "creds", "retry", "retry_delay", "quiet")


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
    asked = {key: values[key] for key in PULLING if key in values}
    if platform:
        asked["platform"] = platform
    return state_of(resolve(engine, name, policy, asked), name)


def state_of(image: Image, word: str) -> State:
    """The state that an image is, which the user calls ``word``."""
    layers = tuple(BuiltLayer(layer, diff_id) for layer, diff_id in zip(image.layers, image.diff_ids, strict=True))
    config = {key: value for key, value in image.config.items() if key not in _OWN}
    own = image.manifest.get("annotations") or {}
    annotations = {**own, BASE_NAME: _name(image, word), BASE_DIGEST: image.digest}
    return State(config, layers, tuple(image.config.get("history") or ()), len(layers), annotations)


def _name(image: Image, word: str) -> str:
    """The one of an image's names that ``word`` means; '' if it is none."""
    try:
        return name_of(image, word)
    except (NotFoundError, StorageError):
        return ""
