"""What happened to containers, images and volumes, put down for ``rootless events``."""

from __future__ import annotations

from storage import eventlog

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from rootless.engine.context import Engine


def note(
    engine: Engine,
    kind: str,
    action: str,
    object_id: str,
    about: Mapping[str, Any] | None = None,
    exit_code: int | None = None,
    **attributes: str,
) -> None:
    """Append an event to the log; costs some microseconds and never fails.

    ``kind`` and ``action`` are podman's words (podman-events(1)): container create, image pull… ``about``: the record
    of the object, of which ``name``, ``image_name`` and ``labels`` are taken, as far as they are there. ``exit_code``
    is for containers that died, ``attributes`` for what else is to be told.
    """
    eventlog.append(
        engine.store.layout.events, **described(kind, action, object_id, about or {}, attributes), exit_code=exit_code
    )


def described(
    kind: str, action: str, object_id: str, about: Mapping[str, Any], attributes: Mapping[str, str]
) -> dict[str, Any]:
    """The arguments of ``storage.eventlog.append`` for an event that somebody else writes, as the monitor does."""
    labels = about.get("labels")
    return {
        "kind": kind,
        "action": action,
        "object_id": object_id,
        "name": about.get("name") or "",
        "image": about.get("image_name") or "",
        "attributes": {**labels, **attributes} if isinstance(labels, dict) else dict(attributes),
    }
