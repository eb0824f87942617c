"""The flags about connections."""

from __future__ import annotations

from pathlib import Path

import pytest

from rootless.errors import RootlessError
from rootless.registry.auth import registry_key
from rootless.registry.options import ConnectionOptions
from rootless.registry.trust import trusted_realms
from storage.errors import StorageError


def test_flags() -> None:
    options = ConnectionOptions.from_values(
        {"creds": "me:a:b", "tls_verify": False, "retry": "0", "retry_delay": "500ms", "cert_dir": "/c"}
    )
    assert options.credentials is not None
    assert (options.credentials.username, options.credentials.password) == ("me", "a:b")
    assert options.tls_verify is False
    assert (options.limits.tries, options.limits.first_wait) == (1, 0.5)
    assert ConnectionOptions.from_values({}).tls_verify is None
    assert ConnectionOptions.from_values({"tls_verify": "true"}).tls_verify is True


@pytest.mark.parametrize(
    "values", [{"creds": ":x"}, {"tls_verify": "maybe"}, {"retry": "-1"}, {"retry": "x"}, {"retry_delay": "soon"}]
)
def test_bad_flags(values: dict[str, str]) -> None:
    with pytest.raises(RootlessError):
        ConnectionOptions.from_values(values)


@pytest.mark.parametrize(
    ("text", "key"),
    [("quay.io", "quay.io"), ("https://quay.io/", "quay.io"), ("index.docker.io", "docker.io"),
     ("localhost:5000/team", "localhost:5000/team")],
)  # fmt: skip
def test_registry_keys(text: str, key: str) -> None:
    assert registry_key(text) == key


@pytest.mark.parametrize("text", ["", " ", "a b", "user@host", "quay.io/UPPER", "quay.io:99999999"])
def test_what_is_no_registry(text: str) -> None:
    with pytest.raises((RootlessError, StorageError)):
        registry_key(text)


def test_trusted_realms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert trusted_realms("r.example.com") == []
    path = tmp_path / "rootless" / "trusted-realms.toml"
    path.parent.mkdir()
    path.write_text('"r.example.com" = ["login.example.net"]')
    assert trusted_realms("r.example.com") == ["login.example.net"]
    for text in ('"r.example.com" = 5', "nonsense"):
        path.write_text(text)
        with pytest.raises(RootlessError):
            trusted_realms("r.example.com")
