"""Credentials: what registries and others do to get at them, and what they get."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.attacks.credential_cases import CASES, PASSWORD, Case, World, new_world
from tests.fakes.registry import Reply
from tests.support import pulling
from tests.support.certificates import Authority
from tests.support.figures import Tell

leaked: dict[str, list[str]] = {}
"""For each case that was tried the secrets that came to where they should not."""


def attempt(case: Case, directory: Path, authority: Authority) -> tuple[World, pulling.Pulled]:
    with new_world(directory, authority) as world:
        case.prepare(world)
        pulled = pulling.pull(pulling.new_store(directory), world.name, world.options)
        leaked[case.name] = world.leaks()
    return world, pulled


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.name.replace(' ', '-')}_row_{case.row}")
def test_password(case: Case, tmp_path: Path, authority: Authority) -> None:
    world, pulled = attempt(case, tmp_path, authority)
    assert leaked[case.name] == []
    assert (pulled.error == "") == case.works, pulled
    assert PASSWORD not in pulled.error + pulled.hint + pulled.said
    assert any(seen.headers.get("authorization") for seen in world.registry.seen) or not case.works


def test_all_cases_rows_79_80_81_82(tmp_path: Path, authority: Authority, figure: Tell) -> None:
    for number, case in enumerate(CASES):
        if case.name not in leaked:  # this test was chosen alone
            (tmp_path / str(number)).mkdir()
            attempt(case, tmp_path / str(number), authority)
    bad = sum(bool(secrets) for secrets in leaked.values())
    figure("hostile registries: credentials that came to another host", "= 0", bad, of=len(leaked))
    assert len(leaked) == len(CASES) >= 24


def test_scope_is_ours_row_81(tmp_path: Path, authority: Authority) -> None:
    (case,) = (case for case in CASES if case.name == "token for more than this pull")
    world, _ = attempt(case, tmp_path, authority)
    assert {tuple(seen.query["scope"]) for seen in world.registry.requests("/token")} == {("repository:app:pull",)}


def test_foreign_layer_is_not_fetched_row_80(tmp_path: Path, authority: Authority) -> None:
    (case,) = (case for case in CASES if case.name == "foreign layer")
    world, _ = attempt(case, tmp_path, authority)
    assert world.other.seen == []


def test_answer_that_repeats_the_password_is_not_shown_row_88(tmp_path: Path, authority: Authority) -> None:
    with new_world(tmp_path, authority) as world:
        world.registry.script("/manifests/", Reply())
        body = b'{"errors":[{"code":"X","message":"no: %s"}]}' % PASSWORD.encode()
        world.registry.script("/manifests/", Reply(status=400, body=body), 9)
        pulled = pulling.pull(pulling.new_store(tmp_path), world.name, world.options)
    assert "answered 400" in pulled.error
    assert PASSWORD not in pulled.error
