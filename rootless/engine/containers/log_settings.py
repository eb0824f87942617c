"""What the monitor is told of the log, after a look whether there can be one: what was asked for is not dropped."""

from __future__ import annotations

import os

from rootless.errors import RootlessError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from rootless.engine.context import Engine


def log_settings(engine: Engine, container_id: str, record: Mapping[str, Any]) -> dict[str, Any]:
    """``driver`` and what it needs (see rootless.monitor.logs.open_log). Raises RootlessError where it cannot work."""
    options = record["options"]
    driver = options["log_driver"]
    if driver == "journald":
        from rootless.monitor.journal import Journal

        fields = _fields(container_id, record)
        try:
            Journal({}).close()
        except OSError as error:
            hint = "use --log-driver=k8s-file where systemd's journal does not run"
            raise RootlessError(f"cannot log to the journal: {error.strerror}", hint) from None
        return {"driver": driver, "fields": fields}
    if driver not in ("k8s-file", "json-file"):
        return {"driver": driver}
    path = options["log_path"]
    if path:
        from rootless.monitor.logs import open_file

        try:
            os.close(open_file(path))
        except OSError as error:
            raise RootlessError(f"cannot log to {path}: {error.strerror}", "choose another --log-opt path") from None
    path = path or engine.store.layout.container_log(container_id)
    return {"driver": driver, "path": path, "max_size": options["log_size"]}


def _fields(container_id: str, record: Mapping[str, Any]) -> dict[str, str]:
    """conmon's fields of a journal entry."""
    fields = {
        "CONTAINER_ID": container_id[:12],
        "CONTAINER_ID_FULL": container_id,
        "CONTAINER_NAME": record["name"],
        "IMAGE_NAME": record["image_name"],
    }
    tag = _expanded(record["options"].get("log_tag") or "", container_id, record)
    if tag:
        fields["CONTAINER_TAG"] = tag
    fields["SYSLOG_IDENTIFIER"] = tag or record["name"]
    return fields


def _expanded(tag: str, container_id: str, record: Mapping[str, Any]) -> str:
    from rootless.engine.options.log import TAG_FIELDS

    facts = {
        "ID": container_id, "Id": container_id, "Name": record["name"], "ImageName": record["image_name"],
        "Image": record["image"],
    }  # fmt: skip
    for field in TAG_FIELDS:
        tag = tag.replace("{{." + field + "}}", facts[field])
    return tag
