"""``registries.conf`` version 2 (containers-registries.conf(5)): short names, mirrors, insecure and blocked registries.

Files, later ones winning: the user's ``registries.conf`` or else ``/etc/containers/registries.conf``, then the drop-ins
``/etc/containers/registries.conf.d/*.conf`` and the user's ``registries.conf.d/*.conf``, each in the order of their
names. ``$CONTAINERS_REGISTRIES_CONF`` names one file to read in place of them all.

Where no file sets ``unqualified-search-registries``, short names are looked for on docker.io, as Docker does: a
machine without any configuration can still pull ``alpine``.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from rootless import paths
from rootless.registry.errors import RegistryError

SYSTEM_CONFIG = Path("/etc/containers")
DEFAULT_SEARCH = ("docker.io",)
MAX_FILE = 4 * 1024 * 1024

_PULL_FROM_MIRROR = ("all", "digest-only", "tag-only")
_SHORT_NAME_MODES = ("enforcing", "permissive", "disabled")


@dataclass(frozen=True)
class Mirror:
    """Another place that serves a registry's images. ``use`` is ``all``, ``digest-only`` or ``tag-only``."""

    location: str
    insecure: bool = False
    use: str = "all"


@dataclass(frozen=True)
class RegistryRule:
    """One ``[[registry]]`` table. ``prefix`` may begin with ``*.``; ``location`` '' means the name is not rewritten."""

    prefix: str
    location: str = ""
    insecure: bool = False
    blocked: bool = False
    mirrors: tuple[Mirror, ...] = ()


@dataclass(frozen=True)
class Endpoint:
    """Where to ask for one repository: ``host`` with optional port, ``repository`` path below it."""

    host: str
    repository: str
    insecure: bool = False
    is_mirror: bool = False


@dataclass
class RegistriesConf:
    """The merged configuration."""

    search: list[str] = field(default_factory=lambda: list(DEFAULT_SEARCH))
    short_name_mode: str = "permissive"
    credential_helpers: list[str] = field(default_factory=list)
    rules: dict[str, RegistryRule] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    sources: list[str] = field(default_factory=list)

    def rule_for(self, name: str) -> RegistryRule | None:
        """The rule with the longest prefix that matches ``name`` ("host[:port]/path", without tag or digest)."""
        matching = [rule for rule in self.rules.values() if matched_length(name, rule.prefix)]
        return max(matching, key=lambda rule: len(rule.prefix), default=None)

    def endpoints(self, name: str, *, by_digest: bool) -> list[Endpoint]:
        """Where ``name`` ("host/path") can be fetched from, mirrors first, the origin last.

        ``by_digest``: the reference is pinned. Raises RegistryError if the registry is blocked.
        """
        rule = self.rule_for(name)
        if rule is None:
            return [_endpoint(name, insecure=False, is_mirror=False)]
        if rule.blocked:
            raise _blocked("pull", name, rule)
        rest = name[matched_length(name, rule.prefix) :]
        unwanted = "tag-only" if by_digest else "digest-only"
        found = [
            _endpoint(mirror.location + rest, insecure=mirror.insecure, is_mirror=True)
            for mirror in rule.mirrors
            if mirror.use != unwanted
        ]
        origin = rule.location + rest if rule.location else name
        found.append(_endpoint(origin, insecure=rule.insecure, is_mirror=False))
        return found

    def destination(self, name: str) -> Endpoint:
        """Where ``name`` ("host/path") is pushed to: the registry that it names, never a mirror or another location.

        Raises RegistryError if the registry is blocked.
        """
        rule = self.rule_for(name)
        if rule is not None and rule.blocked:
            raise _blocked("push", name, rule)
        return _endpoint(name, insecure=rule is not None and rule.insecure, is_mirror=False)

    def is_insecure(self, host: str) -> bool:
        """Whether ``host`` may be spoken to without verified TLS (for login, which has no repository)."""
        rule = self.rule_for(host)
        return rule is not None and rule.insecure

    def candidates(self, short: str) -> list[str]:
        """The full names that a short name (no registry; maybe a tag or digest) may stand for, best first.

        An alias decides alone. Raises RegistryError in ``enforcing`` mode when more than one registry could be meant,
        and when nothing is configured to search.
        """
        bare, suffix = split_suffix(short)
        alias = self.aliases.get(bare)
        if alias is not None:
            return [alias + suffix]
        if not self.search:
            raise RegistryError(
                f'short-name "{short}" did not resolve to an alias and no unqualified-search registries are defined',
                f"write the registry too, for example docker.io/library/{short}",
            )
        names = [_qualify(registry, short) for registry in self.search]
        if self.short_name_mode == "enforcing" and len(names) > 1:
            raise RegistryError(
                f'short-name resolution enforced: "{short}" may mean any of {len(names)} registries',
                "write the full name: " + ", ".join(names),
            )
        return names


def _blocked(verb: str, name: str, rule: RegistryRule) -> RegistryError:
    return RegistryError(
        f"cannot {verb} {name}: registry {rule.prefix} is blocked by registries.conf",
        "remove 'blocked = true' for it, or use another registry",
    )


def _qualify(registry: str, short: str) -> str:
    if registry == "docker.io" and "/" not in short:
        return f"docker.io/library/{short}"
    return f"{registry}/{short}"


def split_suffix(name: str) -> tuple[str, str]:
    """Split ``name[:tag][@digest]`` into the name and the rest: "a/b:1" gives ("a/b", ":1")."""
    at = name.find("@")
    head = name if at < 0 else name[:at]
    colon = head.find(":", head.rfind("/") + 1)
    cut = len(head) if colon < 0 else colon
    return name[:cut], name[cut:]


def matched_length(name: str, prefix: str) -> int:
    """How many characters of ``name`` the rule's ``prefix`` covers, 0 if it does not match.

    A prefix ends where a name's component does: "quay.io/a" matches "quay.io/a/b" and "quay.io/a:1", not
    "quay.io/ab". "*.example.com" matches any host below example.com.
    """
    if prefix.startswith("*."):
        host = name.partition("/")[0]
        wanted_host, slash, wanted_path = prefix[1:].partition("/")
        plain = host if ":" in wanted_host else host.partition(":")[0]
        if not plain.endswith(wanted_host) or len(plain) == len(wanted_host):
            return 0
        return matched_length(name, host + slash + wanted_path)
    if not prefix or not name.startswith(prefix):
        return 0
    return len(prefix) if len(name) == len(prefix) or name[len(prefix)] in "/:@" else 0


def _endpoint(location: str, *, insecure: bool, is_mirror: bool) -> Endpoint:
    host, _, repository = location.partition("/")
    return Endpoint("registry-1.docker.io" if host == "docker.io" else host, repository, insecure, is_mirror)


def load() -> RegistriesConf:
    """Read and merge the configuration files. Raises RegistryError for a file that cannot be read or understood."""
    chosen = os.environ.get("CONTAINERS_REGISTRIES_CONF")
    if chosen:
        return load_files([Path(chosen)])
    user = Path(paths.config_home()) / "containers"
    main = user / "registries.conf"
    files = [main if main.is_file() else SYSTEM_CONFIG / "registries.conf"]
    for directory in (SYSTEM_CONFIG / "registries.conf.d", user / "registries.conf.d"):
        files.extend(sorted(directory.glob("*.conf")))
    # Choices that other tools of the family remembered for the user are honoured, but lose to nothing else here.
    remembered = Path(paths.cache_dir()).parent / "containers" / "short-name-aliases.conf"
    return load_files([remembered, *files])


def load_files(files: Iterable[Path]) -> RegistriesConf:
    """Merge ``files`` in order; those that do not exist are passed over."""
    conf = RegistriesConf()
    for path in files:
        try:
            with open(path, "rb") as stream:
                text = stream.read(MAX_FILE + 1)
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            continue
        except OSError as error:
            raise RegistryError(f"cannot read {path}: {error.strerror}") from error
        if len(text) > MAX_FILE:
            raise RegistryError(f"cannot read {path}: it is larger than {MAX_FILE} bytes")
        try:
            merge(conf, tomllib.loads(text.decode("utf-8")))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, BadConfError, RecursionError) as error:
            raise RegistryError(f"cannot read {path}: {error}", "see containers-registries.conf(5)") from error
        conf.sources.append(str(path))
    return conf


class BadConfError(Exception):
    """A key has a value of the wrong kind."""


def merge(conf: RegistriesConf, table: dict[str, object]) -> None:
    """Lay one parsed file over ``conf``: a registry replaces the one of the same prefix, aliases are merged."""
    if "registries" in table:
        raise BadConfError("version 1 of the format is not supported, rewrite [registries.*] as [[registry]]")
    if "unqualified-search-registries" in table:
        conf.search = _strings(table, "unqualified-search-registries")
    if "credential-helpers" in table:
        conf.credential_helpers = _strings(table, "credential-helpers")
    mode = _string(table, "short-name-mode")
    if mode:
        if mode not in _SHORT_NAME_MODES:
            raise BadConfError(f"short-name-mode is {mode!r}, not one of {', '.join(_SHORT_NAME_MODES)}")
        conf.short_name_mode = mode
    for entry in _tables(table, "registry"):
        rule = _rule(entry)
        conf.rules[rule.prefix] = rule
    aliases = table.get("aliases", {})
    if not isinstance(aliases, dict):
        raise BadConfError("aliases is not a table")
    for short, full in aliases.items():
        if not isinstance(full, str):
            raise BadConfError(f"alias {short!r} is not a string")
        if full:
            conf.aliases[short] = full
        else:
            conf.aliases.pop(short, None)


def _rule(entry: dict[str, object]) -> RegistryRule:
    location = _location(entry)
    prefix = _string(entry, "prefix").rstrip("/") or location
    if not prefix:
        raise BadConfError("a [[registry]] has neither prefix nor location")
    if not location and not prefix.startswith("*."):
        location = prefix
    digest_only = _flag(entry, "mirror-by-digest-only")
    mirrors = []
    for mirror in _tables(entry, "mirror"):
        use = _string(mirror, "pull-from-mirror") or ("digest-only" if digest_only else "all")
        if use not in _PULL_FROM_MIRROR:
            raise BadConfError(f"pull-from-mirror is {use!r}, not one of {', '.join(_PULL_FROM_MIRROR)}")
        place = _location(mirror)
        if not place:
            raise BadConfError(f"a mirror of {prefix} has no location")
        mirrors.append(Mirror(place, _flag(mirror, "insecure"), use))
    return RegistryRule(prefix, location, _flag(entry, "insecure"), _flag(entry, "blocked"), tuple(mirrors))


def _location(entry: dict[str, object]) -> str:
    location = _string(entry, "location").rstrip("/")
    if "://" in location:
        raise BadConfError(f"location {location!r} has a scheme; write the host and path alone")
    return location


def _string(table: dict[str, object], key: str) -> str:
    value = table.get(key, "")
    if not isinstance(value, str):
        raise BadConfError(f"{key} is not a string")
    return value


def _flag(table: dict[str, object], key: str) -> bool:
    value = table.get(key, False)
    if not isinstance(value, bool):
        raise BadConfError(f"{key} is not true or false")
    return value


def _strings(table: dict[str, object], key: str) -> list[str]:
    value = table[key]
    if not isinstance(value, list):
        raise BadConfError(f"{key} is not a list")
    return [_string({key: item}, key) for item in value]


def _tables(table: dict[str, object], key: str) -> list[dict[str, object]]:
    value = table.get(key, [])
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise BadConfError(f"{key} is not a list of tables")
    return value
