"""auth.json: what is found in it, and how it is written."""

from __future__ import annotations

import base64
import json
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootless.registry import authfile, helpers
from rootless.registry.authfile import Credentials
from rootless.registry.errors import RegistryError


def entry(user: str, password: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


@pytest.fixture(autouse=True)
def no_other_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing but what the test writes."""
    monkeypatch.delenv("REGISTRY_AUTH_FILE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    (tmp_path / "run").mkdir(mode=0o700)


def write(path: Path, document: object) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return str(path)


def test_the_most_specific_key_wins(tmp_path: Path) -> None:
    path = write(
        tmp_path / "auth.json",
        {
            "auths": {
                "quay.io": entry("host", "1"),
                "quay.io/team": entry("team", "2"),
                "quay.io/team/app": entry("app", "3"),
            }
        },
    )
    for name, user in (("quay.io/other/x", "host"), ("quay.io/team/x", "team"), ("quay.io/team/app", "app")):
        found = authfile.lookup(name, path)
        assert found is not None and found.username == user
    assert authfile.lookup("quay.io.evil.com/app", path) is None
    assert authfile.lookup("quay.io:5000/app", path) is None


@pytest.mark.parametrize("key", ["docker.io", "index.docker.io", "https://index.docker.io/v1/", "registry-1.docker.io"])
def test_docker_hub_has_many_names(tmp_path: Path, key: str) -> None:
    path = write(tmp_path / "auth.json", {"auths": {key: entry("me", "x:y")}})
    assert authfile.lookup("docker.io/library/alpine", path) == Credentials("me", "x:y")


def test_files_are_asked_in_order(tmp_path: Path) -> None:
    places = ["run/containers/auth.json", "config/containers/auth.json", "docker/config.json"]
    for number, place in enumerate(reversed(places)):
        write(tmp_path / place, {"auths": {"x.io": entry(f"user{number}", "p")}})
        found = authfile.lookup("x.io/app")
        assert found is not None and found.username == f"user{number}"


def test_an_identity_token_is_kept_apart(tmp_path: Path) -> None:
    path = write(tmp_path / "auth.json", {"auths": {"x.io": {"identitytoken": "t"}}})
    assert authfile.lookup("x.io", path) == Credentials("<token>", identity_token="t")


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "{",
        '{"auths": [5]}',
        '{"auths": {"x.io": {"auth": "%%%"}}}',
        '{"auths": {"x.io": {"auth": "bm9jb2xvbg=="}}}',
        '{"auths": {"x.io": {"auth": 5}}}',
        '{"auths": {"x.io": {"auth": "/w=="}}}',
        "[" * 10_000,
    ],
)
def test_a_broken_file_is_an_error_without_its_content(tmp_path: Path, text: str) -> None:
    path = write(tmp_path / "auth.json", text)
    with pytest.raises(RegistryError, match="auth.json"):
        authfile.lookup("x.io/app", path)


def test_a_missing_authfile_is_an_error_only_if_it_was_asked_for(tmp_path: Path) -> None:
    assert authfile.lookup("x.io") is None
    with pytest.raises(RegistryError, match="no such file"):
        authfile.lookup("x.io", str(tmp_path / "missing"))


def test_storing_is_private_and_keeps_the_rest(tmp_path: Path) -> None:
    path = str(tmp_path / "new" / "auth.json")
    old_umask = os.umask(0)
    try:
        authfile.store(path, "a.io", "me", "s:cret")
        authfile.store(path, "b.io", "you", "other")
    finally:
        os.umask(old_umask)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert authfile.lookup("a.io", path) == Credentials("me", "s:cret")
    assert authfile.erase(path, "a.io")
    assert not authfile.erase(path, "a.io")
    assert authfile.lookup("b.io", path) == Credentials("you", "other")
    authfile.erase_all(path)
    assert authfile.lookup("b.io", path) is None


@given(st.text(min_size=1).filter(lambda text: ":" not in text and "\0" not in text), st.text())
def test_what_is_encoded_is_decoded(user: str, password: str) -> None:
    try:
        encoded = authfile.encode_entry(user, password)
    except UnicodeEncodeError:
        return
    found = authfile.decode_entry("f", "k", encoded)
    assert found is not None
    assert (found.username, found.password) == (user, password.rstrip("\0"))


def test_credentials_do_not_print_their_secrets() -> None:
    assert "secret" not in repr(Credentials("me", "secret", "secret"))


# Helpers


def make_helper(directory: Path, name: str, script: str) -> None:
    directory.mkdir(exist_ok=True, mode=0o755)
    path = directory / f"docker-credential-{name}"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_helpers_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_helper(tmp_path / "bin", "ok", """read s; echo '{"ServerURL":"x","Username":"'$1-$s'","Secret":"p"}'""")
    make_helper(tmp_path / "bin", "none", "echo credentials not found in native keychain; exit 1")
    make_helper(tmp_path / "bin", "bad", "echo nonsense")
    make_helper(tmp_path / "bin", "fails", "echo it is locked >&2; exit 1")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    path = write(tmp_path / "auth.json", {"credHelpers": {"x.io": "ok", "y.io": "none"}, "credsStore": "ok"})
    assert authfile.lookup("x.io/app", path) == Credentials("get-x.io", "p")
    assert authfile.lookup("docker.io/app", path) == Credentials("get-https://index.docker.io/v1/", "p")
    assert helpers.get("none", "y.io") is None
    with pytest.raises(RegistryError, match="not valid JSON"):
        helpers.get("bad", "x")
    with pytest.raises(RegistryError, match="it is locked"):
        helpers.get("fails", "x")


@pytest.mark.parametrize("name", ["", "../x", "a/b", "..", "a..b", ".x", "-x", "a b", "a\n", "ü", "x" * 200])
def test_a_helper_name_is_no_path(name: str) -> None:
    with pytest.raises(RegistryError, match="not a valid name"):
        helpers.find(name)


def test_a_helper_is_not_taken_from_an_unsafe_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_helper(tmp_path / "open", "evil", "exit 0")
    (tmp_path / "open").chmod(0o777)
    monkeypatch.chdir(tmp_path / "open")
    for path in ("", ".", "open", "/usr/bin"):
        with pytest.raises(RegistryError, match="cannot find credential helper"):
            helpers.find("evil", path)
    with pytest.raises(RegistryError, match="other users can change it"):
        helpers.find("evil", str(tmp_path / "open"))
