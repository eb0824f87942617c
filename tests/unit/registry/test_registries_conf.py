"""registries.conf: what it means for a name."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootless.registry.errors import RegistryError
from rootless.registry.registries_conf import Endpoint, RegistriesConf, load_files, matched_length, split_suffix


def conf(tmp_path: Path, *texts: str) -> RegistriesConf:
    files = []
    for number, text in enumerate(texts):
        path = tmp_path / f"{number}.conf"
        path.write_text(text)
        files.append(path)
    return load_files(files)


def test_nothing_configured_means_docker_hub(tmp_path: Path) -> None:
    found = load_files([tmp_path / "missing"])
    assert found.candidates("alpine:3") == ["docker.io/library/alpine:3"]
    assert found.candidates("me/app") == ["docker.io/me/app"]
    assert found.endpoints("docker.io/library/alpine", by_digest=False) == [
        Endpoint("registry-1.docker.io", "library/alpine")
    ]


def test_short_names(tmp_path: Path) -> None:
    text = """
        unqualified-search-registries = ["quay.io", "docker.io"]
        [aliases]
        fedora = "registry.fedoraproject.org/fedora"
        "ns/app" = "ghcr.io/ns/app"
    """
    found = conf(tmp_path, text)
    assert found.candidates("alpine") == ["quay.io/alpine", "docker.io/library/alpine"]
    assert found.candidates("fedora:40") == ["registry.fedoraproject.org/fedora:40"]
    assert found.candidates("ns/app@sha256:" + "0" * 64) == ["ghcr.io/ns/app@sha256:" + "0" * 64]


def test_enforcing_mode_does_not_guess(tmp_path: Path) -> None:
    found = conf(tmp_path, 'short-name-mode = "enforcing"\nunqualified-search-registries = ["a.io", "b.io"]')
    with pytest.raises(RegistryError, match="enforced") as refusal:
        found.candidates("app")
    assert "a.io/app, b.io/app" in refusal.value.hint


def test_no_search_at_all(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="did not resolve to an alias"):
        conf(tmp_path, "unqualified-search-registries = []").candidates("app")


def test_later_files_win(tmp_path: Path) -> None:
    found = conf(
        tmp_path,
        'unqualified-search-registries = ["a.io"]\n[[registry]]\nlocation="x.io"\nblocked=true\n[aliases]\nb="x.io/b"',
        '[[registry]]\nlocation="x.io"\ninsecure=true\n[aliases]\na="x.io/a"\nb=""',
    )
    assert found.search == ["a.io"]
    assert found.aliases == {"a": "x.io/a"}
    assert found.endpoints("x.io/app", by_digest=False) == [Endpoint("x.io", "app", insecure=True)]


def test_mirrors_come_first_and_only_where_they_may(tmp_path: Path) -> None:
    found = conf(
        tmp_path,
        """
        [[registry]]
        prefix = "docker.io"
        [[registry.mirror]]
        location = "mirror.local:5000/hub"
        insecure = true
        [[registry.mirror]]
        location = "digests.local"
        pull-from-mirror = "digest-only"
        [[registry.mirror]]
        location = "tags.local"
        pull-from-mirror = "tag-only"
        """,
    )
    hosts = [endpoint.host for endpoint in found.endpoints("docker.io/library/app", by_digest=False)]
    assert hosts == ["mirror.local:5000", "tags.local", "registry-1.docker.io"]
    hosts = [endpoint.host for endpoint in found.endpoints("docker.io/library/app", by_digest=True)]
    assert hosts == ["mirror.local:5000", "digests.local", "registry-1.docker.io"]
    first = found.endpoints("docker.io/library/app", by_digest=False)[0]
    assert first == Endpoint("mirror.local:5000", "hub/library/app", insecure=True, is_mirror=True)


def test_remapping_and_the_longest_prefix(tmp_path: Path) -> None:
    found = conf(
        tmp_path,
        """
        [[registry]]
        prefix = "example.com/foo"
        location = "internal.example.net/bar"
        [[registry]]
        prefix = "example.com"
        blocked = true
        [[registry]]
        prefix = "*.wild.io"
        insecure = true
        """,
    )
    assert found.endpoints("example.com/foo/app", by_digest=False) == [Endpoint("internal.example.net", "bar/app")]
    with pytest.raises(RegistryError, match="blocked"):
        found.endpoints("example.com/food", by_digest=False)
    assert found.endpoints("a.b.wild.io:5000/app", by_digest=False) == [
        Endpoint("a.b.wild.io:5000", "app", insecure=True)
    ]
    assert not found.endpoints("wild.io/app", by_digest=False)[0].insecure


def test_a_push_goes_to_the_registry_that_is_named(tmp_path: Path) -> None:
    found = conf(
        tmp_path,
        """
        [[registry]]
        location = "elsewhere.example.net/bar"
        prefix = "example.com/foo"
        insecure = true
        [[registry.mirror]]
        location = "mirror.example.net"
        [[registry]]
        prefix = "blocked.example.com"
        blocked = true
        """,
    )
    assert found.destination("example.com/foo/app") == Endpoint("example.com", "foo/app", insecure=True)
    assert found.destination("docker.io/me/app") == Endpoint("registry-1.docker.io", "me/app")
    with pytest.raises(RegistryError, match="cannot push blocked.example.com/app"):
        found.destination("blocked.example.com/app")


@pytest.mark.parametrize(
    "text",
    [
        "not toml",
        "unqualified-search-registries = 5",
        "unqualified-search-registries = [5]",
        'short-name-mode = "maybe"',
        "[[registry]]\nblocked = true",
        '[[registry]]\nlocation = "x.io"\ninsecure = "yes"',
        '[[registry]]\nlocation = "https://x.io"',
        '[[registry]]\nlocation = "x.io"\n[[registry.mirror]]\ninsecure = true',
        '[[registry]]\nlocation = "x.io"\n[[registry.mirror]]\nlocation = "y.io"\npull-from-mirror = "some"',
        "registry = 5",
        "[aliases]\na = 5",
        "aliases = 5",
        "[registries.search]\nregistries = ['docker.io']",
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, text: str) -> None:
    with pytest.raises(RegistryError, match=r"cannot read .*0\.conf"):
        conf(tmp_path, text)


@pytest.mark.parametrize(
    ("name", "prefix", "length"),
    [
        ("quay.io/a/b", "quay.io/a", 9),
        ("quay.io/ab", "quay.io/a", 0),
        ("quay.io/a", "quay.io/a", 9),
        ("quay.io:5000/a", "quay.io", 7),
        ("x.example.com/a", "*.example.com", 13),
        ("example.com/a", "*.example.com", 0),
        ("evil-example.com/a", "*.example.com", 0),
        ("anything", "", 0),
    ],
)
def test_prefixes(name: str, prefix: str, length: int) -> None:
    assert matched_length(name, prefix) == length


@given(st.text(max_size=50))
def test_a_name_is_split_without_loss(name: str) -> None:
    head, tail = split_suffix(name)
    assert head + tail == name


@given(st.text(max_size=40), st.text(max_size=20))
def test_a_match_never_exceeds_the_name(name: str, prefix: str) -> None:
    assert 0 <= matched_length(name, prefix) <= len(name)
