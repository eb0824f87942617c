"""``--change``: Containerfile instructions that alter an image's configuration; ``KEY=VALUE`` too."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rootless.containerfile.configure import configure, variables_of
from rootless.containerfile.expansion import Expander
from rootless.containerfile.origin import ContainerfileError
from rootless.containerfile.parse import parse_one
from rootless.errors import RootlessError, UsageError
from storage import jsonfast, oci
from storage.errors import StorageError

_FIELDS = frozenset(
    ("User", "WorkingDir", "StopSignal", "Env", "Cmd", "Entrypoint", "Shell", "OnBuild", "Labels", "Volumes",
     "ExposedPorts", "Healthcheck")
)  # fmt: skip
INSTRUCTIONS = ("CMD", "ENTRYPOINT", "ENV", "EXPOSE", "LABEL", "ONBUILD", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR")


def apply_changes(config: Mapping[str, Any], changes: Iterable[str]) -> dict[str, Any]:
    """The ``config`` object of an image configuration after ``changes``, one after the other. Raises UsageError.

    They mean what they do in a Containerfile: a variable is that of the object's own Env, and an ENTRYPOINT takes away
    a CMD that no change before it has set.
    """
    document: dict[str, Any] = {"config": dict(config)}
    cmd_is_own = False
    for change in changes:
        word, text = _spaced(change)
        refusal = f"cannot use --change {change[:80]!r}"
        if word not in INSTRUCTIONS:
            raise UsageError(refusal, "the instructions are " + ", ".join(INSTRUCTIONS))
        if len(text) == len(word):
            raise UsageError(f"{refusal}: {word} needs a value")
        try:
            step = parse_one(text, "--change", "a change")
            step = Expander(variables_of(document["config"]), "\\").instruction(step)
            document = configure(document, step, cmd_is_own=cmd_is_own)
        except ContainerfileError as error:
            raise UsageError(f"{refusal}: {error.reason}", error.hint) from None
        cmd_is_own = cmd_is_own or word == "CMD"
    found: dict[str, Any] = document["config"]
    return found


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


def _spaced(change: str) -> tuple[str, str]:
    """The instruction's name, and its text; ``CMD=/bin/sh`` is ``CMD /bin/sh``."""
    text = change.strip()
    end = next((place for place, character in enumerate(text) if character in " \t="), len(text))
    return text[:end].upper(), f"{text[:end]} {text[end + 1 :]}".rstrip()
