"""``--change``: Containerfile instructions that alter an image's configuration (of ``import``; ``KEY=VALUE`` too)."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable
from typing import Any

from rootless.errors import RootlessError, UsageError
from storage import jsonfast, oci
from storage.errors import StorageError

_FIELDS = frozenset(
    ("User", "WorkingDir", "StopSignal", "Env", "Cmd", "Entrypoint", "Shell", "OnBuild", "Labels", "Volumes",
     "ExposedPorts", "Healthcheck")
)  # fmt: skip
INSTRUCTIONS = ("CMD", "ENTRYPOINT", "ENV", "EXPOSE", "LABEL", "ONBUILD", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR")


def apply_changes(config: dict[str, Any], changes: Iterable[str]) -> None:
    """Apply ``changes`` in order to the ``config`` object of an image configuration. Raises UsageError."""
    for change in changes:
        word, rest = _split(change)
        if word not in INSTRUCTIONS:
            raise UsageError(f"cannot use --change {change[:80]!r}", "the instructions are " + ", ".join(INSTRUCTIONS))
        if not rest:
            raise UsageError(f"cannot use --change {change[:80]!r}: {word} needs a value")
        try:
            _apply(config, word, rest)
        except ValueError as error:
            raise UsageError(f"cannot use --change {change[:80]!r}: {error}") from None


def merge_file(config: dict[str, Any], path: str) -> None:
    """Merge the ``config`` object in the JSON file ``path`` into that of an image. Raises RootlessError.

    Variables, labels, volumes and ports are added to those that are there; anything else takes the place of what was.
    """
    try:
        with open(path, "rb") as file:
            found = jsonfast.loads_strict(file.read(oci.MAX_DOCUMENT))
        given = oci.check_config({"rootfs": {"type": "layers", "diff_ids": []}, "config": found})["config"]
    except OSError as error:
        raise RootlessError(f"cannot read {path}: {error.strerror}") from None
    except StorageError as error:
        hint = 'it must be an object such as {"Cmd": ["sh"], "Env": ["A=1"]}'
        raise RootlessError(f"cannot use {path}: {error.message}", hint) from None
    unknown = sorted(set(given) - _FIELDS)
    if unknown:
        fields = ", ".join(sorted(_FIELDS))
        raise RootlessError(f"cannot use {path}: an image has no {unknown[0][:40]!r}", f"its fields are {fields}")
    for key, value in given.items():
        if key == "Env":
            new = {entry.partition("=")[0] for entry in value}
            config[key] = [each for each in config.get(key) or [] if each.partition("=")[0] not in new] + value
        elif isinstance(value, dict) and key != "Healthcheck":
            config[key] = {**(config.get(key) or {}), **value}
        elif value:
            config[key] = value


def _split(change: str) -> tuple[str, str]:
    """``CMD /bin/sh`` and ``CMD=/bin/sh`` give ("CMD", "/bin/sh")."""
    text = change.strip()
    end = next((place for place, character in enumerate(text) if character in " \t="), len(text))
    return text[:end].upper(), text[end:].lstrip(" \t=").strip()


def _apply(config: dict[str, Any], word: str, rest: str) -> None:
    if word in ("CMD", "ENTRYPOINT"):
        config["Cmd" if word == "CMD" else "Entrypoint"] = _json_list(rest) or ["/bin/sh", "-c", rest]
    elif word == "ENV":
        new = _pairs(rest)
        kept = [entry for entry in config.get("Env", []) if entry.partition("=")[0] not in new]
        config["Env"] = kept + [f"{key}={value}" for key, value in new.items()]
    elif word == "LABEL":
        config["Labels"] = {**config.get("Labels", {}), **_pairs(rest)}
    elif word == "EXPOSE":
        ports = config.setdefault("ExposedPorts", {})
        for port in rest.split():
            number, _, protocol = port.partition("/")
            if not (number.isascii() and number.isdigit() and 0 < int(number[:6]) < 65536):
                raise ValueError(f"{port[:20]} is not a port")
            if protocol not in ("", "tcp", "udp", "sctp"):
                raise ValueError(f"{protocol[:20]} is not a protocol")
            ports[f"{number}/{protocol or 'tcp'}"] = {}
    elif word == "VOLUME":
        volumes = config.setdefault("Volumes", {})
        for path in _json_list(rest) or rest.split():
            volumes[path] = {}
    elif word == "ONBUILD":
        config["OnBuild"] = [*config.get("OnBuild", []), rest]
    else:
        config[{"STOPSIGNAL": "StopSignal", "USER": "User", "WORKDIR": "WorkingDir"}[word]] = rest


def _json_list(text: str) -> list[str] | None:
    """The strings of ``["a", "b"]``; None for anything that does not begin like a list."""
    if not text.startswith("["):
        return None
    found = json.loads(text)
    if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
        raise ValueError("not a list of strings")
    return found


def _pairs(text: str) -> dict[str, str]:
    """``A=1 B="two words"``, or the old form ``A the rest of the line``."""
    words = shlex.split(text)
    if "=" not in words[0]:
        key, _, value = text.partition(" ")
        if not value:
            raise ValueError("not of the form KEY=VALUE")
        return {key: value.strip()}
    found: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not key or not equals:
            raise ValueError(f"{word[:40]!r} is not of the form KEY=VALUE")
        found[key] = value
    return found
