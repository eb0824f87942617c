"""The image to make a container of: found, or pulled. When it is here nothing more is imported."""

from __future__ import annotations

from rootless.errors import NotFoundError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from rootless.engine.context import Engine
    from storage.images import Image

    Values = Mapping[str, Any]

_TRANSPORTS = ("docker://", "oci:", "oci-archive:", "docker-archive:", "dir:", "containers-storage:")


def resolve(engine: Engine, name: str, pull_policy: str | None, values: Values) -> Image:
    """The image to make a container of: found in the store, or pulled, as ``--pull`` says (default: missing).

    A pull happens in a child process. Raises NotFoundError with policy ``never``, else what ``pull`` raises.
    """
    policy = pull_policy or "missing"
    if policy in ("missing", "never") and not name.startswith(_TRANSPORTS):
        image = engine.store.images.find(name)
        if image is not None and _fits(engine, image, values):
            return image
        if image is None:
            from rootless.engine.images import instances

            image, name = instances.resolve(engine, name, values)
            if image is not None and _fits(engine, image, values):
                return image
        if policy == "never" and image is None:
            raise NotFoundError(f"{name}: image not known", f"fetch it with 'rootless pull {name}'")
    from rootless.engine.images.pull import check_policy, pull_for_run

    check_policy(policy, "--pull")
    return pull_for_run(engine, name, policy, values)


def _fits(engine: Engine, image: Image, values: Values) -> bool:
    """Whether the image is of the platform that was asked for (if any), and all its layers are unpacked."""
    if engine.layers.missing(image.diff_ids):
        return False
    if not (values.get("platform") or values.get("os") or values.get("arch") or values.get("variant")):
        return True
    from rootless.engine.images.platform import wanted

    return wanted(values).matches(image.config)
