"""The options of a build that are its own; those of the containers of its commands are read by `run`."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from rootless.durations import parse_duration
from rootless.engine.images import platform as platforms
from rootless.engine.images.pull import check_policy
from rootless.errors import UsageError
from storage import oci

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_ALWAYS = {
    "rm": "the containers of steps are always removed",
    "force_rm": "the containers of steps are always removed",
    "load": "the image is always kept in the store: remove it with rootless rmi",
}
_LATEST = 253402300799  # seconds: the last of the year 9999, which RFC 3339 can name


class BuildOptions:
    """What the command line asks of a build.

    ``arguments``: build arguments. ``epoch``: seconds that the image and its steps have as their time, or None for now.
    ``clamped``: no file of a new layer is newer. ``touched``: seconds that every file of a new layer has as its time,
    or None. ``layers``: a layer for each step, else (and with ``squash``) one for all; ``squash_all``: with those of
    the base. ``lifetime``: seconds for which what was kept is used, or None. ``platform`` is the one that is built for
    now.
    """

    def __init__(self, values: Mapping[str, Any], environ: Mapping[str, str] = os.environ) -> None:
        self.values = values
        self.arguments = _arguments(values, environ)
        self.target: str = values.get("target") or ""
        self.base: str = values.get("from") or ""
        self.policy = _policy(values.get("pull"))
        self.epoch, self.touched = _times(values, self.arguments, environ)
        rewrite = values.get("rewrite_timestamp")
        self.clamped = self.epoch is not None and self.touched is None and rewrite is not False
        if rewrite and self.epoch is None:
            raise UsageError("cannot use --rewrite-timestamp without a time", "give --source-date-epoch too")
        layers = values.get("layers")
        self.squash_all = bool(values.get("squash_all"))
        if [self.squash_all, bool(values.get("squash")), layers is not None].count(True) > 1:
            raise UsageError("cannot specify --squash, --squash-all and --layers options together")
        if layers is None:
            layers = environ.get("BUILDAH_LAYERS", "").lower() not in ("false", "0")
        self.squash = bool(values.get("squash")) or not layers
        self.layers = not (self.squash or self.squash_all)
        self.reads_cache = not values.get("no_cache") and layers
        ttl = values.get("cache_ttl")
        self.lifetime = parse_duration(ttl, "--cache-ttl") if ttl else None
        if self.lifetime == 0:
            self.reads_cache = False
        self.skip_unused = values.get("skip_unused_stages") is not False
        self.jobs = _jobs(values.get("jobs"))
        self.docker = _is_docker(values.get("format") or environ.get("BUILDAH_FORMAT") or None)
        self.labels = _pairs(values.get("label"), "--label")
        self.annotations = _pairs(values.get("annotation"), "--annotation", full=True)
        self.variables = _variables(values.get("env"), environ)
        self.without_variables = frozenset(values.get("unsetenv") or ())
        self.system_version: str = values.get("os_version") or ""
        self.system_features: list[str] = values.get("os_feature") or []
        if values.get("identity_label"):
            raise UsageError("cannot use --identity-label: no image gets a label with the program's version")
        self.without_labels = frozenset(values.get("unsetlabel") or ())
        self.without_annotations = frozenset(values.get("unsetannotation") or ())
        self.inherits_annotations = values.get("inherit_annotations") is not False
        self.inherits_labels = values.get("inherit_labels") is not False
        self.has_history = not values.get("omit_history")
        self.platforms = _platforms(values)
        for key in ("provenance", "sbom"):
            if values.get(key) not in (None, "false"):
                hint = f"write --{key}=false, or leave it out"
                raise UsageError(f"cannot use --{key}={values[key][:40]}: there are no attestations", hint)
        for key, hint in _ALWAYS.items():
            if values.get(key) is False:
                raise UsageError(f"cannot use --{key.replace('_', '-')}=false", hint)

    def mtime(self, nanoseconds: int) -> int:
        """The time of change that a file with a given one has in a new layer."""
        if self.touched is not None:
            return self.touched * 1_000_000_000
        if self.clamped and self.epoch is not None:
            return min(nanoseconds, self.epoch * 1_000_000_000)
        return nanoseconds

    def now(self) -> str:
        """The time that a step has in the history, RFC 3339."""
        if self.epoch is not None:
            return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.epoch))
        seconds, fraction = divmod(time.time_ns(), 1_000_000_000)
        return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{fraction:09d}Z"

    def affecting(self) -> dict[str, Any]:
        """The options that change what a step makes, for the keys of the cache."""
        return {"epoch": self.epoch, "clamped": self.clamped, "touched": self.touched}


def _arguments(values: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for path in values.get("build_arg_file") or ():
        found.update(_of_file(path))
    for text in values.get("build_arg") or ():
        name, equals, value = text.partition("=")
        if not name:
            raise UsageError(f"cannot use --build-arg {text[:80]!r}: it has no name", "write --build-arg NAME=VALUE")
        if equals:
            found[name] = value
        elif name in environ:
            found[name] = environ[name]
        else:
            found.pop(name, None)
    return found


def _of_file(path: str) -> dict[str, str]:
    try:
        with open(path, encoding="utf-8") as file:
            lines = file.read().splitlines()
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text"
        raise UsageError(f"cannot read the build arguments in {path}: {why}") from None
    found = {}
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise UsageError(f"cannot use {path}:{number}: {text[:80]!r} is not NAME=VALUE")
        found[name] = value
    return found


def _policy(text: str | None) -> str:
    """podman's words, and those of a flag: alone it means always."""
    policy = {None: "missing", "true": "always", "false": "missing", "ifnewer": "newer", "ifmissing": "missing"}.get(
        text, text or "missing"
    )
    check_policy(policy, "--pull")
    return policy


def _times(
    values: Mapping[str, Any], arguments: Mapping[str, str], environ: Mapping[str, str]
) -> tuple[int | None, int | None]:
    """The time of the image, and that of its files, in seconds."""
    if values.get("timestamp") is not None:
        if values.get("source_date_epoch") is not None:
            raise UsageError("--timestamp and --source-date-epoch cannot be used together")
        seconds = _seconds(values["timestamp"], "--timestamp")
        return seconds, seconds
    if values.get("source_date_epoch") is not None:
        return _seconds(values["source_date_epoch"], "--source-date-epoch"), None
    name = "SOURCE_DATE_EPOCH"
    text = arguments.get(name) or environ.get(name)
    return (_seconds(text, name), None) if text else (None, None)


def _seconds(text: str, what: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 13 and int(text) <= _LATEST):
        raise UsageError(f"cannot use {what}={text[:40]}: not a number of seconds since 1970")
    return int(text)


def _jobs(text: str | None) -> int:
    if text is None:
        return len(os.sched_getaffinity(0))
    number = int(text)
    if number < 0:
        raise UsageError(f"cannot use --jobs {text}: there cannot be less than none")
    return number or 1000


def _is_docker(text: str | None) -> bool:
    kinds = {None: False, "oci": False, "docker": True, oci.MANIFEST: False, oci.DOCKER_MANIFEST: True}
    if text not in kinds:
        raise UsageError(f"unrecognized image format {text!r}", "use --format oci or --format docker")
    return kinds[text]


def _pairs(texts: Iterable[str] | None, flag: str, *, full: bool = False) -> dict[str, str]:
    found = {}
    for text in texts or ():
        key, equals, value = text.partition("=")
        if not key or (full and not equals):
            raise UsageError(f"cannot use {flag} {text[:80]!r}", f"write {flag} KEY=VALUE")
        found[key] = value
    return found


def _variables(texts: Iterable[str] | None, environ: Mapping[str, str]) -> list[tuple[str, str]]:
    found = []
    for text in texts or ():
        name, equals, value = text.partition("=")
        if not name:
            raise UsageError(f"cannot use --env {text[:80]!r}: it has no name", "write --env NAME=VALUE")
        if equals or name in environ:
            found.append((name, value if equals else environ[name]))
    return found


def _platforms(values: Mapping[str, Any]) -> list[str]:
    """The platforms to build for; '' is this machine's."""
    given = values.get("platform") or []
    if not given:
        alone = {key: values.get(key) for key in ("os", "arch", "variant")}
        return [str(platforms.wanted(alone))] if any(alone.values()) else [""]
    if any(values.get(key) for key in ("os", "arch", "variant")):
        raise UsageError("cannot use --platform together with --os, --arch or --variant")
    return list(dict.fromkeys(str(platforms.wanted({"platform": text})) if text != "local" else "" for text in given))
