"""What a registry does to get a password, or a layer, sent to somebody else: while it is pushed to, and listed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from rootless.errors import RootlessError
from rootless.registry.catalog import Catalog
from rootless.registry.registries_conf import Endpoint
from tests.attacks.credential_cases import CLOUD, EVIL, HOST, PASSWORD, World, bearer, new_world
from tests.fakes.registry import Reply, layer
from tests.support import pulling, pushing
from tests.support.certificates import Authority
from tests.support.figures import Tell

leaked: dict[str, list[str]] = {}
"""For each case that was tried what came to where it should not."""


@dataclass(frozen=True)
class Case:
    """One row of the table. ``works``: the image is there in the end. ``asked``: another host may be asked too."""

    name: str
    row: int
    prepare: Callable[[World], object]
    works: bool = False
    asked: bool = False

    def __str__(self) -> str:
        """For the name of the test, which tells the row by its end."""
        return f"{self.name.replace(' ', '-')}_row_{self.row}"


def location(text: str) -> Callable[[World], object]:
    """Uploads go on at ``text``."""

    def prepare(world: World) -> None:
        world.registry.uploads.place = lambda path: text.format(path=path)

    return prepare


def redirect(part: str, status: int, place: str) -> Callable[[World], object]:
    """What asks for ``part`` is sent to ``place``."""

    def prepare(world: World) -> None:
        # The first is asked without credentials; what is sent to be told of it must be honest.
        world.registry.script("GET /v2/", Reply(status=200))
        world.registry.script(part, Reply(status=status, headers={"Location": place}), 99)

    return prepare


def speaks_plainly(world: World) -> None:
    """Where TLS is expected somebody answers without it."""
    world.proxy.hosts[f"{HOST}:443"] = world.plain


def insecure_and_plain(world: World) -> None:
    """registries.conf allows http, and a registry on another machine wants a password over it."""
    world.configure(f'[[registry]]\nlocation = "{HOST}"\ninsecure = true\n')
    del world.proxy.hosts[f"{HOST}:443"]
    world.plain.user, world.plain.password = "me", "another"


CASES = [
    Case("nothing wrong", 83, lambda _: None, works=True),
    Case("TLS port that speaks plainly", 79, speaks_plainly),
    Case("password over http to another machine", 79, insecure_and_plain),
    Case("Location on the same host by http", 79, location(f"http://{HOST}{{path}}"), works=True),
    *[
        Case(f"{method.strip()} is redirected by {status} to {place}", 82, redirect(f"{method}/v2/app", status, place))
        for method in ("POST ", "PUT ")
        for status in (301, 302, 307, 308)
        for place in (f"https://{EVIL}/v2/app/x", f"https://{HOST}:8443/x", f"http://{HOST}/x", "file:///etc/passwd")
    ],
    Case("HEAD is redirected", 82, redirect("HEAD /v2/app", 307, f"https://{EVIL}/v2/app/x"), works=True, asked=True),
    *[
        Case(f"Location {place} {words}", 83, make(location(place)))
        for words, make in (("with a password", lambda prepare: prepare), ("with tokens", bearer))
        for place in (
            f"https://{EVIL}{{path}}", f"//{EVIL}{{path}}", f"https://{HOST}:8443{{path}}", f"http://{EVIL}{{path}}",
            f"https://{HOST}.{EVIL}{{path}}", f"http://{CLOUD}/latest", "https://10.0.0.1{path}",
            f"https://{HOST}@{EVIL}{{path}}", f"https://{EVIL}\\@{HOST}{{path}}",
        )
    ],
]  # fmt: skip


def attempt(case: Case, directory: Path, authority: Authority) -> pulling.Pulled:
    """Push; what came where is in ``leaked`` then."""
    with new_world(directory, authority) as world:
        world.registry.blobs.clear()
        case.prepare(world)
        image, _ = pushing.image_of([layer({"f": b"content"})])
        pushed = pushing.push(pulling.new_store(directory), image, world.name, world.options)
        leaked[str(case)] = world.leaks()
        if not case.asked:
            leaked[str(case)] += [f"{seen.method} {seen.path}" for seen in world.other.seen]
        leaked[str(case)] += [f"a body: {seen.path}" for seen in (*world.other.seen, *world.plain.seen) if seen.body]
    return pushed


@pytest.mark.parametrize("case", CASES, ids=str)
def test_password(case: Case, tmp_path: Path, authority: Authority) -> None:
    pushed = attempt(case, tmp_path, authority)
    assert leaked[str(case)] == []
    assert (pushed.error == "") == case.works, pushed
    assert PASSWORD not in pushed.error + pushed.hint + pushed.said


def test_all_cases_rows_79_82_83(tmp_path: Path, authority: Authority, figure: Tell) -> None:
    for number, case in enumerate(CASES):
        if str(case) not in leaked:  # this test was chosen alone
            (tmp_path / str(number)).mkdir()
            attempt(case, tmp_path / str(number), authority)
    bad = sum(bool(found) for found in leaked.values())
    figure("hostile registries: pushes of which something came to another host", "= 0", bad, of=len(leaked))


LINKS = (
    f"https://{EVIL}/v2/app/tags/list", f"//{EVIL}/v2/app/tags/list", f"https://{HOST}:8443/v2/app/tags/list",
    f"http://{EVIL}/x", f"http://{CLOUD}/latest", "https://10.0.0.1/x", f"https://{HOST}@{EVIL}/x",
    f"https://{EVIL}\\@{HOST}/x", "file:///etc/passwd",
)  # fmt: skip


@pytest.mark.parametrize("link", LINKS, ids=lambda link: f"{link}_row_84")
@pytest.mark.parametrize("what", ["tags", "catalog"])
def test_next_page_elsewhere(what: str, link: str, tmp_path: Path, authority: Authority) -> None:
    with new_world(tmp_path, authority) as world:
        path = "/tags/list" if what == "tags" else "/v2/_catalog"
        body = b'{"tags": ["1"], "repositories": ["app"]}'
        world.registry.script(path, Reply())  # the challenge
        world.registry.script(path, Reply(status=200, body=body, headers={"Link": f'<{link}>; rel="next"'}))
        catalog = Catalog(Endpoint(HOST, "app"), world.options)
        with pytest.raises(RootlessError, match=r"another host|malformed|credentials|not http"):
            catalog.tags(100) if what == "tags" else catalog.search("app", 100)
        assert world.leaks() == []
        assert not world.other.seen and not world.plain.seen


def test_next_page_that_is_the_same_one_row_84(tmp_path: Path, authority: Authority) -> None:
    with new_world(tmp_path, authority) as world:
        link = {"Link": '</v2/app/tags/list?last=1>; rel="next"'}
        world.registry.script("/tags/list", Reply(), 1)
        world.registry.script("/tags/list", Reply(status=200, body=b'{"tags": ["1"]}', headers=link), 99)
        assert Catalog(Endpoint(HOST, "app"), world.options).tags(1000) == ["1", "1"]
        assert len(world.registry.requests("/tags/list")) == 3


def test_next_page_by_http_is_asked_for_by_https_row_84(tmp_path: Path, authority: Authority) -> None:
    with new_world(tmp_path, authority) as world:
        for number in range(5):
            world.registry.put_manifest("app", b"{}", tag=f"{number}")
        link = {"Link": f'<http://{HOST}/v2/app/tags/list?last=2>; rel="next"'}
        world.registry.script("/tags/list", Reply(), 1)
        world.registry.script("/tags/list", Reply(status=200, body=b'{"tags": ["0", "1", "2"]}', headers=link))
        assert Catalog(Endpoint(HOST, "app"), world.options).tags(1000) == ["0", "1", "2", "3", "4", "latest"]
        assert world.leaks() == [] and not world.plain.seen


def test_search_asks_without_a_password_row_84(tmp_path: Path, authority: Authority) -> None:
    with new_world(tmp_path, authority) as world:
        world.registry.script("/v1/search", Reply(status=302, headers={"Location": f"https://{EVIL}/v1/search?q=app"}))
        world.other.found = [{"name": "lured", "description": "\x1b[31mred"}]
        found = Catalog(Endpoint(HOST, ""), world.options).search("app", 10)
        assert [each.name for each in found] == ["lured"]
        assert world.leaks() == []
