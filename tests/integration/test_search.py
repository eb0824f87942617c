"""Looking for images at registries, and listing tags."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.fakes.registry import FakeRegistry, Reply
from tests.support.cli import Cli

INSECURE = "--tls-verify=false"
RESULTS: list[Any] = [
    {"name": "app", "description": "An app\nof two lines, and with a description that is too long for a table",
     "star_count": 7, "is_official": True},
    {"name": "me/app", "description": "mine", "star_count": 1, "is_automated": True},
    {"name": 7}, "nonsense", {"name": "x" * 5000},
]  # fmt: skip


@pytest.fixture
def fake() -> Iterator[FakeRegistry]:
    with FakeRegistry() as running:
        for number in range(8):
            running.put_manifest(f"team/app{number}", b"{}", tag="latest")
            running.put_manifest("app", b"{}", tag=f"v{number}")
        yield running


def search_registries(cli: Cli, *hosts: str) -> None:
    path = cli.home / "config" / "containers" / "registries.conf"
    path.parent.mkdir(parents=True, exist_ok=True)
    rules = "".join(f'[[registry]]\nlocation = "{host}"\ninsecure = true\n' for host in hosts)
    path.write_text(f"unqualified-search-registries = {json.dumps(list(hosts))}\n{rules}")


def test_a_catalog_of_several_pages(cli: Cli, fake: FakeRegistry) -> None:
    rows = cli.ok("search", INSECURE, f"{fake.host}/app").splitlines()
    assert rows[0].split() == ["NAME", "DESCRIPTION"]
    assert [row.strip() for row in rows[1:]] == [f"{fake.host}/{name}" for name in
                                                 ["app", *(f"team/app{number}" for number in range(8))]]  # fmt: skip
    assert len(cli.ok("search", INSECURE, "--limit=4", "--format={{.Name}}", f"{fake.host}/").splitlines()) == 4
    assert cli.ok("search", INSECURE, f"{fake.host}/nothing") == ""
    assert fake.requests("_catalog?last=")


def test_a_search_by_the_registry(cli: Cli, fake: FakeRegistry) -> None:
    fake.found = RESULTS
    (first, second) = json.loads(cli.ok("search", INSECURE, "--format=json", "--limit=9", f"{fake.host}/app"))
    assert first == {
        "Index": fake.host, "Name": f"{fake.host}/app", "Stars": 7, "Official": "[OK]", "Automated": "", "Tag": "",
        "Description": "An app of two lines, and with a description ...",
    }  # fmt: skip
    assert (second["Name"], second["Automated"]) == (f"{fake.host}/me/app", "[OK]")
    assert fake.requests("/v1/search")[-1].query == {"q": ["app"], "n": ["9"]}
    assert "too long for a table" in cli.ok("search", INSECURE, "--no-trunc", f"{fake.host}/app")
    assert cli.ok("search", INSECURE, "--compatible", f"{fake.host}/app").split("\n")[0].split() == [
        "NAME", "DESCRIPTION", "STARS", "OFFICIAL", "AUTOMATED"]  # fmt: skip
    for words, names in (
        (["stars=5"], ["app"]), (["is-official"], ["app"]), (["is-official=false"], ["me/app"]),
        (["is-automated=true", "stars=1"], ["me/app"]), (["stars=8"], []),
    ):  # fmt: skip
        flags = [f"--filter={word}" for word in words]
        found = cli.ok("search", INSECURE, *flags, "--format={{.Name}}", f"{fake.host}/app").split()
        assert found == [f"{fake.host}/{name}" for name in names]


def test_the_registries_for_short_names(cli: Cli, fake: FakeRegistry) -> None:
    with FakeRegistry(address="127.0.0.2") as other:
        other.put_manifest("other/app", b"{}")
        search_registries(cli, fake.host, other.host)
        found = cli.ok("search", "--limit=1", "--format={{.Index}} {{.Name}}", "app").splitlines()
        assert found == [f"{fake.host} {fake.host}/app", f"{other.host} {other.host}/other/app"]
        error = cli.fails(125, "search", "--creds=u:p", "app")
        assert "several registries" in error
    done = cli.run("search", "--limit=1", "--format={{.Name}}", "app", timeout=60)
    assert done.stdout.split() == [f"{fake.host}/app"]
    assert f"cannot reach registry {other.host}" in done.stderr


def test_tags(cli: Cli, fake: FakeRegistry) -> None:
    rows = [row.split() for row in cli.ok("search", INSECURE, "--list-tags", f"{fake.host}/app").splitlines()]
    assert rows == [["NAME", "TAG"], *([f"{fake.host}/app", f"v{number}"] for number in range(8))]
    found = json.loads(cli.ok("search", INSECURE, "--list-tags", "--limit=2", "--format=json", f"{fake.host}/app"))
    assert found == [{"Name": f"{fake.host}/app", "Tags": ["v0", "v1"]}]
    search_registries(cli, fake.host)
    assert cli.ok("search", "--list-tags", "--format={{.Tag}}", "app").split() == [f"v{number}" for number in range(8)]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--list-tags", "{}/nothing"], "no such repository"),
        (["--list-tags", "{}/app:1"], "it has one already"),
        (["--list-tags", "--filter=stars=1", "{}/app"], "not applicable"),
        (["--filter=size=1", "{}/app"], "cannot use the filter 'size'"),
        (["--filter=stars=many", "{}/app"], "not a number of stars"),
        (["--limit=0x1", "{}/app"], "whole number"),
        (["--limit=99999", "{}/app"], "from 1 to 10000"),
    ],
)
def test_refusals(cli: Cli, fake: FakeRegistry, words: list[str], said: str) -> None:
    assert said in cli.fails(125, "search", INSECURE, *(word.format(fake.host) for word in words))


def test_a_registry_without_lists(cli: Cli, fake: FakeRegistry) -> None:
    fake.script("/_catalog", Reply(status=404), 9)
    assert "not every registry can be searched" in cli.fails(125, "search", INSECURE, f"{fake.host}/app")
