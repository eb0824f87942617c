"""Who may be sent a password."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootless.registry.errors import RegistryError
from rootless.registry.realm import check_realm, is_internal, origin, registered_domain

ALLOWED = [
    ("https://registry-1.docker.io", "https://auth.docker.io/token"),
    ("https://registry.gitlab.com", "https://gitlab.com/jwt/auth"),
    ("https://ghcr.io", "https://ghcr.io/token"),
    ("https://registry.connect.redhat.com", "https://sso.redhat.com/auth"),
    ("https://registry.example.co.uk", "https://auth.example.co.uk/token"),
    ("https://r.example.com:5000", "https://r.example.com:6000/token"),
    ("http://127.0.0.1:5000", "http://127.0.0.1:5001/token"),
    ("http://localhost:5000", "http://localhost:5001/token"),
]

REFUSED = [
    ("https://registry.example.com", "https://evil.com/token"),
    ("https://registry.example.com", "https://registry.example.com.evil.com/token"),
    ("https://registry.example.com", "http://registry.example.com/token"),
    ("https://registry.example.co.uk", "https://evil.co.uk/token"),
    ("https://registry.example.com", "https://127.0.0.1/token"),
    ("https://registry.example.com", "https://169.254.169.254/latest"),
    ("https://registry.example.com", "https://[::1]/token"),
    ("https://registry.example.com", "https://[::]/token"),
    ("https://registry.example.com", "https://[::ffff:127.0.0.1]/token"),
    ("https://registry.example.com", "https://[fe80::1%25eth0]/token"),
    ("https://registry.example.com", "https://10.0.0.1/token"),
    ("https://registry.example.com", "https://localhost/token"),
    ("https://registry.example.com", "https://2130706433/token"),
    ("https://registry.example.com", "https://0x7f.1/token"),
    ("https://registry.example.com", "https://0177.0.0.1/token"),
    ("https://registry.example.com", "https://user:pass@registry.example.com/token"),
    ("https://registry.example.com", "file:///etc/passwd"),
    ("https://registry.example.com", "https:///token"),
    ("https://registry.example.com", "https://registry.example.com:99999/token"),
    ("http://registry.example.com", "http://registry.example.com/token"),
    ("http://127.0.0.1:5000", "http://127.0.0.2:5000/token"),
]


@pytest.mark.parametrize(("registry", "realm"), ALLOWED)
def test_passwords_go_to_the_registrys_own_organisation(registry: str, realm: str) -> None:
    assert check_realm(origin(registry), realm, secret=True) == origin(realm)


@pytest.mark.parametrize(("registry", "realm"), REFUSED)
def test_passwords_go_nowhere_else(registry: str, realm: str) -> None:
    with pytest.raises(RegistryError):
        check_realm(origin(registry), realm, secret=True)


def test_an_anonymous_token_may_come_from_any_public_https_host() -> None:
    registry = origin("https://registry.example.com")
    check_realm(registry, "https://tokens.example.net/token", secret=False)
    for realm in ("http://tokens.example.net/token", "https://127.0.0.1/token", "https://192.168.1.1/token"):
        with pytest.raises(RegistryError):
            check_realm(registry, realm, secret=False)


def test_the_user_may_trust_another_host() -> None:
    registry = origin("https://registry.example.com")
    check_realm(registry, "https://login.example.net/token", secret=True, trusted=["login.example.net"])
    check_realm(registry, "https://10.0.0.1:444/token", secret=True, trusted=["10.0.0.1:444"])
    with pytest.raises(RegistryError):
        check_realm(registry, "http://login.example.net/token", secret=True, trusted=["login.example.net"])


@pytest.mark.parametrize(
    ("host", "domain"),
    [("a.b.example.com", "example.com"), ("example.com", "example.com"), ("localhost", "localhost"),
     ("1.2.3.4", "1.2.3.4"), ("a.example.co.uk", "example.co.uk"), ("quay.io", "quay.io")],
)  # fmt: skip
def test_registered_domains(host: str, domain: str) -> None:
    assert registered_domain(host) == domain


@given(st.text(alphabet="abc.:/@[]%#?0123456789x-", max_size=40))
def test_any_realm_is_accepted_or_refused(text: str) -> None:
    try:
        found = check_realm(origin("https://registry.example.com"), f"https://{text}", secret=True)
    except RegistryError:
        return
    assert found.host == "registry.example.com" or found.host.endswith("example.com")


@given(st.ip_addresses(network="127.0.0.0/8") | st.ip_addresses(network="10.0.0.0/8"))
def test_internal_addresses(address: object) -> None:
    assert is_internal(str(address))
