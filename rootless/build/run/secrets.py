"""``--secret id=ID[,src=FILE|,env=NAME][,type=file|env]``: what `RUN --mount=type=secret` is given.

A secret is read when a step wants it. It is no part of a key of the cache, of a layer, of the history, and of the words
of a process.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from rootless.engine.options.mount import fields_of
from rootless.errors import RootlessError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_LIMIT = 500 << 10
"""As BuildKit has it."""

_HINT = "write it like --secret id=token,src=/home/me/token or --secret id=token,env=TOKEN"


class Secret(NamedTuple):
    """``source`` is the path of a file, or the name of a variable of the caller's (``is_variable``)."""

    source: str
    is_variable: bool


def parse(entries: Iterable[str], environ: Mapping[str, str]) -> dict[str, Secret]:
    """The secrets by id. Raises UsageError."""
    found: dict[str, Secret] = {}
    for entry in entries:
        values: dict[str, str] = {}
        for key, value in fields_of(entry, "--secret", _HINT):
            if key not in ("id", "src", "source", "env", "type") or not value:
                raise UsageError(f"cannot use {key[:40]!r} in --secret", _HINT)
            values["src" if key == "source" else key] = value
        name, kind = values.get("id", ""), values.get("type", "")
        if not name or kind not in ("", "file", "env") or ("src" in values and "env" in values):
            raise UsageError("cannot use --secret: it needs an id, and a file or a variable", _HINT)
        is_variable = "env" in values or kind == "env"
        source = values.get("env") or values.get("src") or name
        if not kind and "src" not in values and not is_variable:
            is_variable = source in environ
        found[name] = Secret(source, is_variable)
    return found


def read(secret: Secret, name: str, environ: Mapping[str, str]) -> bytes:
    """The secret itself. Raises RootlessError, which tells nothing of it."""
    if secret.is_variable:
        if secret.source not in environ:
            raise RootlessError(f"cannot read the secret {name[:80]}: {secret.source[:80]} is not set", _HINT)
        return os.fsencode(environ[secret.source])
    try:
        with open(secret.source, "rb") as file:
            data = file.read(_LIMIT + 1)
    except OSError as error:
        raise RootlessError(f"cannot read the secret {name[:80]}: {secret.source}: {error.strerror}", _HINT) from None
    if len(data) > _LIMIT:
        raise RootlessError(f"cannot read the secret {name[:80]}: it has more than {_LIMIT >> 10} KiB")
    return data
