"""What one archive may ask for, by the user's settings."""

from __future__ import annotations

from storage.archive.limits import Limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.engine.context import Engine


def limits_of(engine: Engine) -> Limits:
    """The usual bounds, with ``max_layer_size`` of the settings where that is given."""
    most = engine.config.max_layer_size
    return Limits(bytes=most) if most else Limits()
