"""Targets: what a registry says, and the files that say how to speak with one."""

from __future__ import annotations

import tomllib

from rootless.registry import authfile, headers, links, realm, registries_conf
from storage import jsonfast, reference
from tests.fuzz.targets.target import OURS, Target, text


def references(data: bytes) -> None:
    """A name of an image: refused, or parts that are safe in a path and in a URL."""
    found = reference.parse(text(data))
    full = str(found)
    assert str(reference.parse(full)) == full
    assert full.isascii()
    assert full.isprintable()
    assert " " not in full
    assert not {"", ".", ".."} & set(found.repository.split("/"))


def challenges(data: bytes) -> None:
    """WWW-Authenticate, and the realm that it names."""
    registry = realm.origin("https://registry.example")
    for challenge in headers.parse_challenges(data.decode("latin-1")):
        try:
            found = realm.check_realm(registry, challenge.parameters.get("realm", ""), secret=True)
        except OURS:
            continue
        assert found.scheme == "https"
        assert found.host.endswith("example")


def header_values(data: bytes) -> None:
    """Content-Range, Content-Length, Retry-After: numbers in bounds, or nothing."""
    value = data.decode("latin-1")
    found = headers.parse_content_range(value)
    assert found is None or 0 <= found.first <= found.last
    length = headers.parse_content_length(value)
    assert length is None or length >= 0
    wait = headers.parse_retry_after(value, now=1e9)
    assert wait is None or wait >= 0


def next_addresses(data: bytes) -> None:
    """Location and Link: what is followed of them is on the registry's own host, and no header can be made of it."""
    text = data.decode("latin-1")
    received = links.parse_received(text)
    assert received is None or received > 1
    for home in ("https://registry.example", "http://registry.example:5000", "http://[::1]:5000"):
        for link in (text, links.next_link(text), links.next_link(f'<{text}>; rel="next"')):
            try:
                path = links.own_path(realm.origin(home), "/v2/a/blobs/uploads/", link, "push")
            except OURS:
                continue
            assert path.startswith("/") and path.isascii() and path.isprintable() and " " not in path
            assert realm.origin(home + links.with_parameter(path, "digest", text[:100])) == realm.origin(home)


def auth_file(data: bytes) -> None:
    """The entries of an auth.json."""
    document = jsonfast.loads(data)
    for key, value in document.items() if isinstance(document, dict) else ():
        authfile.canonical_key(key)
        if isinstance(value, dict):
            authfile.decode_entry("auth.json", key, value)


def registries(data: bytes) -> None:
    """registries.conf: whatever is in it, a name has candidates and places, or there is an error."""
    conf = registries_conf.RegistriesConf()
    registries_conf.merge(conf, tomllib.loads(data.decode()))
    for name in ("alpine", "docker.io/library/alpine:3", "localhost:5000/x"):
        for candidate in conf.candidates(name):
            conf.endpoints(candidate, by_digest=False)


TARGETS = (
    Target(references, [b"alpine", b"docker.io/library/alpine:3@sha256:" + b"a" * 64, b"[::1]:5000/a/b.c_d--e"]),
    Target(challenges, [b'Bearer realm="https://auth.example/token",service="r",scope="a:b:pull", Basic realm="x"',
                        b'Basic realm="a\\"b"', b"Bearer realm=https://10.0.0.1/"]),
    Target(header_values, [b"bytes 0-99/100", b"bytes 5-9/*", b"120", b"Fri, 31 Dec 1999 23:59:59 GMT"]),
    Target(next_addresses, [b"/v2/a/blobs/uploads/1?_state=x", b"https://evil.example@registry.example/",
                            b'</v2/_catalog?last=a&n=3>; rel="next", <b>; title="a\\"b"; rel=prev', b"0-99"]),
    Target(auth_file, [
        b'{"registry.example": {"auth": "dTpw", "identitytoken": "t"}, "https://index.docker.io/v1/": {}}'],
           also=(ValueError,)),
    Target(registries, [
        b'unqualified-search-registries=["a.example"]\n[[registry]]\nprefix="*.b.example"\nlocation="c.example/d"\n'
        b'insecure=true\n[[registry.mirror]]\nlocation="m.example"\npull-from-mirror="digest-only"\n[aliases]\n"x"="y.example/x"',
        b'short-name-mode="enforcing"'],
        also=(tomllib.TOMLDecodeError, UnicodeDecodeError, registries_conf.BadConfError)),
)  # fmt: skip
