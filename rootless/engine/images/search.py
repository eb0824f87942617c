"""``search``: repositories of registries that fit a word, or the tags of one repository."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from rootless.errors import RootlessError, UsageError
from rootless.registry import memory, registries_conf
from rootless.registry.catalog import Catalog, Found
from rootless.registry.jobs import PARALLEL
from rootless.registry.options import ConnectionOptions
from rootless.registry.registries_conf import Endpoint, RegistriesConf
from storage import reference

Values = Mapping[str, Any]
Row = dict[str, Any]

DEFAULT_LIMIT = 25
_FILTERS = ("is-automated", "is-official", "stars")
_HUB = "docker.io"
_HUB_SEARCH = "index.docker.io"


def search(term: str, values: Values, say: Callable[[str], None]) -> list[Row]:
    """The repositories that fit ``term``, of the registry before its first ``/`` or of those for short names.

    A row has Index, Name, Description, Stars, Official and Automated ("[OK]" or empty). A registry that fails is told
    to ``say`` where another one has an answer. Raises RootlessError, UsageError.
    """
    memory.close()
    test, limit = _test(values.get("filter") or []), _limit(values)
    options = replace(ConnectionOptions.from_values(values), say=say)
    conf = registries_conf.load()
    registries, word = _places(term, conf)
    if options.credentials is not None and len(registries) > 1:
        raise UsageError("cannot send --creds to several registries", f"name one: {registries[0]}/{word}")

    def ask(registry: str) -> list[Row] | RootlessError:
        try:
            found = _catalog(registry, options, conf).search(word, limit)
        except RootlessError as error:
            return error
        return [_row(registry, each) for each in found if test(each)]

    with ThreadPoolExecutor(max_workers=min(PARALLEL, max(1, len(registries)))) as pool:
        answers = list(pool.map(ask, registries))
    rows = [row for answer in answers if not isinstance(answer, RootlessError) for row in answer]
    failures = [answer for answer in answers if isinstance(answer, RootlessError)]
    if failures and len(failures) == len(answers):
        raise RootlessError("; ".join(dict.fromkeys(failure.message for failure in failures)), failures[0].hint)
    for failure in failures:
        say(failure.message)
    return rows


def tags(name: str, values: Values, say: Callable[[str], None]) -> tuple[str, list[str]]:
    """The full name of the repository ``name``, and its tags. Raises RootlessError, UsageError, StorageError."""
    memory.close()
    if values.get("filter"):
        raise UsageError("filters are not applicable to list tags result")
    options = replace(ConnectionOptions.from_values(values), say=say)
    conf = registries_conf.load()
    text = name.removeprefix("docker://")
    candidates = conf.candidates(text) if reference.is_short(text) else [text]
    failure = RootlessError(f"cannot list the tags of {name}: no registry is searched for short names")
    for candidate in candidates:
        full = reference.parse(candidate)
        if full.digest is not None or full.tag != reference.DEFAULT_TAG:
            raise UsageError(f"cannot list the tags of {name}: it has one already", f"write {full.name()}")
        endpoint = conf.endpoints(full.name(), by_digest=False)[-1]
        try:
            found = Catalog(endpoint, options, credential_helpers=tuple(conf.credential_helpers)).tags(_limit(values))
            return full.name(), found
        except RootlessError as error:
            failure = error
    raise failure


def _places(term: str, conf: RegistriesConf) -> tuple[Sequence[str], str]:
    """The registries to ask, and for what."""
    first, slash, rest = term.partition("/")
    if slash and not reference.is_short(term):
        reference.parse(f"{first}/x")  # a registry that is none is refused
        return [first], rest
    if not conf.search:
        raise RootlessError(
            "cannot search: no unqualified-search registries are defined", f"name one: docker.io/{term[:100]}"
        )
    return conf.search, term


def _catalog(registry: str, options: ConnectionOptions, conf: RegistriesConf) -> Catalog:
    endpoint = conf.destination(registry)
    host = _HUB_SEARCH if registry == _HUB else endpoint.host
    return Catalog(
        Endpoint(host, "", endpoint.insecure), options, credentials_name=registry,
        credential_helpers=tuple(conf.credential_helpers),
    )  # fmt: skip


def _row(registry: str, found: Found) -> Row:
    name = f"library/{found.name}" if registry == _HUB and "/" not in found.name else found.name
    return {
        "Index": registry,
        "Name": f"{registry}/{name}",
        "Description": found.description.replace("\n", " "),
        "Stars": found.stars,
        "Official": "[OK]" if found.official else "",
        "Automated": "[OK]" if found.automated else "",
        "Tag": "",
    }


def _limit(values: Values) -> int:
    limit = int(str(values.get("limit") or DEFAULT_LIMIT))
    if not 0 < limit <= 10_000:
        raise UsageError(f"cannot use --limit={limit}", "give a number from 1 to 10000")
    return limit


def _test(words: Sequence[str]) -> Callable[[Found], bool]:
    """A test for repositories of ``stars=N``, ``is-official[=BOOL]`` and ``is-automated[=BOOL]``. Raises UsageError."""
    tests: list[Callable[[Found], bool]] = []
    for word in words:
        key, equals, value = word.partition("=")
        if key == "stars":
            if not (value.isascii() and value.isdigit() and len(value) < 10):
                raise UsageError(f"cannot use the filter {word[:80]!r}: not a number of stars")
            least = int(value)
            tests.append(lambda found, least=least: found.stars >= least)  # type: ignore[misc]
        elif key in ("is-official", "is-automated"):
            if equals and value not in ("true", "false"):
                raise UsageError(f"cannot use the filter {word[:80]!r}: not true or false")
            wanted, official = value != "false", key == "is-official"
            tests.append(
                lambda found, wanted=wanted, official=official: (  # type: ignore[misc]
                    (found.official if official else found.automated) == wanted
                )
            )
        else:
            raise UsageError(f"cannot use the filter {key[:40]!r}", "the filters are " + ", ".join(_FILTERS))
    return lambda found: all(test(found) for test in tests)
