"""Environment and labels: ``-e``, ``--env-file``, ``--env-merge``, ``--label``, ``--label-file``, ``--annotation``.

Only the user may import variables of the host (``-e KEY``, ``-e 'KEY*'``, such lines in an env file, ``--env-host``,
``--http-proxy``). An image's ``Env`` entry without ``=`` is dropped: filling it from the host would hand the host's
secrets to whoever made the image (CVE-2026-57231).
"""

from __future__ import annotations

import os

from rootless.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PROXY_VARIABLES = ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy")
MAX_FILE = 4 << 20


def parse_variables(entries: Iterable[str], host: Mapping[str, str], flag: str = "--env") -> dict[str, str]:
    """``KEY=value`` sets, ``KEY`` takes it from the host if set there, ``KEY*`` every name with that prefix."""
    variables: dict[str, str] = {}
    for entry in entries:
        key, equals, value = entry.partition("=")
        _check_key(key, entry, flag)
        if "\0" in value:
            raise UsageError(f"cannot set {key[:80]!r} with {flag}: the value has a NUL byte")
        if equals:
            variables[key] = value
        elif key.endswith("*"):
            prefix = key[:-1]
            variables.update((name, text) for name, text in host.items() if name.startswith(prefix))
        elif key in host:
            variables[key] = host[key]
    return variables


def _check_key(key: str, entry: str, flag: str) -> None:
    if not key or "\0" in key or key[0] in " \t" or key[-1] in " \t":
        raise UsageError(f"cannot use {entry[:80]!r} for {flag}: it must be KEY=value or KEY")


def read_lines(path: str, flag: str) -> list[str]:
    """The meaningful lines of an env or label file: no blank lines, no ``#`` comments, leading white space removed."""
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_FILE + 1)
    except OSError as error:
        raise UsageError(f"cannot read the file of {flag}: {path}: {error.strerror}") from None
    if len(data) > MAX_FILE:
        raise UsageError(f"cannot read the file of {flag}: {path} is larger than {MAX_FILE >> 20} MiB")
    text = data.decode("utf-8", "surrogateescape").removeprefix("\ufeff")
    lines = (line.removesuffix("\r").lstrip(" \t") for line in text.split("\n"))
    return [line for line in lines if line and not line.startswith("#")]


def image_variables(entries: Iterable[str]) -> dict[str, str]:
    """The variables of an image's ``Env``; entries without a name or without ``=`` are dropped (see above)."""
    variables: dict[str, str] = {}
    for entry in entries:
        key, equals, value = entry.partition("=")
        if key and equals and "\0" not in entry:
            variables[key] = value
    return variables


def merge_variables(entries: Iterable[str], base: Mapping[str, str]) -> dict[str, str]:
    """``--env-merge NAME=text``: the text with ``$NAME`` and ``${NAME}`` replaced from the variables set so far."""
    merged: dict[str, str] = {}
    for entry in entries:
        key, equals, text = entry.partition("=")
        _check_key(key, entry, "--env-merge")
        if not equals:
            raise UsageError(f"cannot use {entry[:80]!r} for --env-merge: it must be KEY=value")
        merged[key] = _expand(text, base)
    return merged


def _expand(text: str, variables: Mapping[str, str]) -> str:
    parts: list[str] = []
    position = 0
    while True:
        dollar = text.find("$", position)
        if dollar < 0:
            parts.append(text[position:])
            return "".join(parts)
        parts.append(text[position:dollar])
        end = dollar + 1
        if text[end : end + 1] == "{" and "}" in text[end:]:
            close = text.index("}", end)
            parts.append(variables.get(text[end + 1 : close], ""))
            position = close + 1
            continue
        while end < len(text) and (text[end].isascii() and text[end].isalnum() or text[end] == "_"):
            end += 1
        parts.append(variables.get(text[dollar + 1 : end], "") if end > dollar + 1 else "$")
        position = end


def proxy_variables(host: Mapping[str, str]) -> dict[str, str]:
    """The proxy settings of the host, lower and upper case, that ``--http-proxy`` passes on."""
    names = [*PROXY_VARIABLES, *(name.upper() for name in PROXY_VARIABLES)]
    return {name: host[name] for name in names if name in host}


def parse_labels(entries: Iterable[str], files: Iterable[str] = (), flag: str = "--label") -> dict[str, str]:
    """``key=value`` or ``key`` (an empty value); the lines of the files come first, so that the command line wins."""
    labels: dict[str, str] = {}
    lines: list[str] = []
    for path in files:
        lines += read_lines(os.fspath(path), flag + "-file")
    for entry in [*lines, *entries]:
        key, _, value = entry.partition("=")
        if not key or "\0" in entry:
            raise UsageError(f"cannot use {entry[:80]!r} for {flag}: it must be key=value")
        labels[key] = value
    return labels
