"""What a registry, or who stands between, does to get at a password: the table of `test_registry_credentials.py`.

The user has credentials for registry.example.com. All hosts of the table are reached by a proxy, so that they have the
names and certificates of real ones; `other` records what comes to any host but that, `plain` what comes without TLS.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from rootless.registry.options import ConnectionOptions
from rootless.registry.retry import Limits
from tests.fakes.proxy import FakeProxy
from tests.fakes.registry import FakeRegistry, Reply, Seen, layer
from tests.support.certificates import Authority, serving

HOST, EVIL = "registry.example.com", "evil.example.net"
USER, PASSWORD, IDENTITY, PROXY_PASSWORD = "me", "sesame s3cr&t/+", "sesame-refresh", "sesame-proxy"  # noqa: S105
CLOUD = "169.254.169.254"
NAMES = (HOST, f"auth.{HOST[9:]}", EVIL, f"{HOST}.{EVIL}", "10.0.0.1", CLOUD)
LIMITS = Limits(connect_timeout=5, idle_seconds=5, first_wait=0.01, tries=2)


def alternative(name: str) -> str:
    return f"IP:{name}" if name[0].isdigit() else f"DNS:{name}"


def forms(secret: str) -> set[str]:
    """How a secret may be written in a request."""
    found = {secret, quote(secret), quote(secret, safe=""), quote_plus(secret)}
    for text in (secret, f"{USER}:{secret}"):
        data = text.encode()
        found |= {base64.b64encode(data).decode().rstrip("="), base64.urlsafe_b64encode(data).decode()}
    return found


@dataclass
class World:
    """The registry, who else may be spoken to, and how the user pulls."""

    directory: Path
    registry: FakeRegistry
    other: FakeRegistry
    plain: FakeRegistry
    proxy: FakeProxy
    monkeypatch: pytest.MonkeyPatch
    name: str = f"{HOST}/app"
    options: ConnectionOptions = field(default_factory=lambda: ConnectionOptions(limits=LIMITS))

    def log_in(self, **entry: str) -> None:
        """Write the user's auth file: a password for the registry, or the ``entry``."""
        auth = {"auth": base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()}
        path = self.directory / "auth.json"
        path.write_text(json.dumps({"auths": {HOST: entry or auth}}))
        self.monkeypatch.setenv("REGISTRY_AUTH_FILE", str(path))

    def configure(self, text: str) -> None:
        """Give the client a registries.conf."""
        path = self.directory / "registries.conf"
        path.write_text(text)
        self.monkeypatch.setenv("CONTAINERS_REGISTRIES_CONF", str(path))

    def leaks(self) -> list[str]:
        """Where a secret came that may not know it."""
        found = []
        secrets = {form for secret in (PASSWORD, IDENTITY, *self.registry.tokens) for form in forms(secret)}
        for place, seen in (("another host", self.other.seen), ("plain HTTP", self.plain.seen)):
            found += [f"{place}: {secret}" for request in seen for secret in secrets if secret in text(request)]
        asked = "".join(asked.text for asked in self.proxy.asked)
        found += [f"the proxy: {secret}" for secret in secrets if secret in asked]
        everybody = [*self.registry.seen, *self.other.seen, *self.plain.seen]
        found += [f"a proxy's password: {f}" for f in forms(PROXY_PASSWORD) for seen in everybody if f in text(seen)]
        found += ["a cookie" for seen in everybody if "cookie" in seen.headers]
        return found


def text(seen: Seen) -> str:
    """All that a server reads of a request."""
    return f"{seen.path}\n{seen.headers}\n{seen.body.decode('latin-1')}"


@contextmanager
def new_world(directory: Path, authority: Authority) -> Iterator[World]:
    """Hosts that answer everybody, but for the registry, which wants the user's password."""
    pem = authority.directory / "all.pem"
    if not pem.exists():
        authority.issue("all", *map(alternative, NAMES), "IP:127.0.0.1")
    with ExitStack() as stack:
        enter = stack.enter_context
        registry = enter(FakeRegistry(user=USER, password=PASSWORD, tls=serving(pem)))
        other, plain = enter(FakeRegistry(tls=serving(pem))), enter(FakeRegistry())
        for fake in (registry, other, plain):
            fake.add_image("app", [layer({"f": b"x"})])
        proxy = enter(FakeProxy({f"{name}:443": other for name in NAMES} | {f"{name}:80": plain for name in NAMES}))
        proxy.hosts[f"{HOST}:443"] = registry
        proxy.hosts[f"{HOST}:8443"] = other
        monkeypatch = enter(pytest.MonkeyPatch.context())
        for scheme in ("http", "https"):
            monkeypatch.setenv(f"{scheme}_proxy", f"http://user:{PROXY_PASSWORD}@{proxy.address}")
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate))
        monkeypatch.setenv("XDG_CONFIG_HOME", str(directory / "config"))
        world = World(directory, registry, other, plain, proxy, monkeypatch)
        world.log_in()
        yield world


@dataclass(frozen=True)
class Case:
    """One row of the table. ``works``: the image is there in the end."""

    name: str
    row: int
    prepare: Callable[[World], object]
    works: bool = False


# Row 81: where tokens are had


def realm(url: str) -> Callable[[World], object]:
    """The registry says that tokens are had at ``url``; ``{plain}`` and ``{other}`` are ports of this machine."""

    def prepare(world: World) -> None:
        ports = {name: getattr(world, name).host.rpartition(":")[2] for name in ("plain", "other")}
        world.registry.realm = url.format(**ports)

    return prepare


def identity_token(world: World) -> None:
    world.log_in(identitytoken=IDENTITY)
    world.registry.realm = f"https://{EVIL}/token"


def token_server_redirects(code: int, host: str) -> Callable[[World], object]:
    def prepare(world: World) -> None:
        token_server_of_the_domain(world)
        world.registry.realm = f"https://{host}/token"
        world.registry.script("/token", Reply(status=code, headers={"Location": f"https://{EVIL}/token"}))

    return prepare


def token_server_of_the_domain(world: World) -> None:
    """What many registries have: it is no stranger."""
    world.registry.realm = f"https://{NAMES[1]}/token"
    world.proxy.hosts[f"{NAMES[1]}:443"] = world.registry


def other_asks_after_redirect(challenge: str) -> Callable[[World], object]:
    """Another host, to which a blob is redirected, wants to be logged in to."""

    def prepare(world: World) -> None:
        redirect("/blobs/", 307, f"https://{EVIL}{{path}}")(world)
        headers = {"WWW-Authenticate": challenge.format(other=EVIL, home=HOST)}
        world.other.script("/blobs/", Reply(status=401, headers=headers), 99)

    return prepare


def wider_scope(world: World) -> None:
    """The registry wants a token that is good for more than this pull."""
    world.registry.realm = "self"
    wish = f'Bearer realm="https://{HOST}/token",service="fake",scope="repository:secret/app:pull,push"'
    world.registry.script("/manifests/", Reply(status=401, headers={"WWW-Authenticate": wish}))


# Row 82: redirects


def redirect(part: str, code: int, location: str) -> Callable[[World], object]:
    """An authorized request for ``part`` is redirected. ``{path}`` is that of the first layer or the manifest."""

    def prepare(world: World) -> None:
        document = json.loads(world.registry.manifests["app", "latest"][0])
        layer_digest = document["layers"][0]["digest"]
        path = "/v2/app/manifests/latest" if part == "/manifests/" else f"/v2/app/blobs/{layer_digest}"
        if part == "/manifests/":
            world.registry.script(part, Reply())  # the challenge
        headers = {"Location": location.format(path=path), "Set-Cookie": "sesame=1; Domain=example.net"}
        world.registry.script(part if part == "/manifests/" else layer_digest, Reply(status=code, headers=headers), 99)

    return prepare


def bearer(prepare: Callable[[World], object]) -> Callable[[World], object]:
    """The same, with a token in place of the password."""

    def both(world: World) -> None:
        world.registry.realm = f"https://{HOST}/token"
        prepare(world)

    return both


# Row 80: foreign layers


def foreign_layer(world: World) -> None:
    document = json.loads(world.registry.manifests["app", "latest"][0])
    url = f"https://{EVIL}/v2/app/blobs/{document['layers'][0]['digest']}"
    document["layers"][0]["urls"] = [url]
    world.registry.put_manifest("app", document)
    del world.registry.blobs[document["layers"][0]["digest"]]
    world.other.script("/", Reply(status=401, headers={"WWW-Authenticate": 'Basic realm="x"'}), 99)


# Row 79: without TLS, and to whom credentials belong


def without_tls(challenge: str) -> Callable[[World], object]:
    """The registry is marked insecure and answers without TLS only."""

    def prepare(world: World) -> None:
        world.configure(f'[[registry]]\nlocation = "{HOST}"\ninsecure = true\n')
        del world.proxy.hosts[f"{HOST}:443"]
        headers = {"WWW-Authenticate": challenge}
        world.plain.script("/manifests/", Reply(status=401, headers=headers), 99)

    return prepare


def no_tls_at_all(world: World) -> None:
    """The port of TLS speaks HTTP, as does the other; nobody said that this is right."""
    world.proxy.hosts[f"{HOST}:443"] = world.plain


def mirror(world: World) -> None:
    """A mirror asks for a password, and has nothing."""
    world.configure(f'[[registry]]\nlocation = "{HOST}"\n[[registry.mirror]]\nlocation = "{EVIL}"\n')
    world.other.script("/", Reply(status=401, headers={"WWW-Authenticate": 'Basic realm="x"'}), 99)


def mirror_with_creds(world: World) -> None:
    mirror(world)
    given = ConnectionOptions.from_values({"creds": f"{USER}:{PASSWORD}"})
    world.options = ConnectionOptions(credentials=given.credentials, limits=LIMITS)


def moved(world: World) -> None:
    """The user's registries.conf has the name served by another host, which asks for a password."""
    world.configure(f'[[registry]]\nprefix = "{HOST}"\nlocation = "{EVIL}"\n')
    world.other.script("/", Reply(status=401, headers={"WWW-Authenticate": 'Basic realm="x"'}), 99)


def named(name: str) -> Callable[[World], object]:
    """The user pulls from a host whose name is near the registry's."""

    def prepare(world: World) -> None:
        world.name = name
        world.other.script("/manifests/", Reply(status=401, headers={"WWW-Authenticate": 'Basic realm="x"'}), 99)

    return prepare


REALMS = {
    "another domain": f"https://{EVIL}/token",
    "another domain with the name in front": f"https://{HOST}.{EVIL}/token",
    "the same host without TLS": f"http://{HOST}/token",
    "another host without TLS": f"http://{EVIL}/token",
    "loopback": "http://127.0.0.1:{plain}/token",
    "loopback with TLS": "https://127.0.0.1:{other}/token",
    "localhost": "http://localhost:{plain}/token",
    "loopback as one number": "https://2130706433:{other}/token",
    "loopback of IPv6": "http://[::1]:{plain}/token",
    "no address": "http://[::]:{plain}/token",
    "loopback mapped to IPv6": "https://[::ffff:127.0.0.1]:{other}/token",
    "the cloud's metadata": f"http://{CLOUD}/latest/token",
    "the cloud's metadata with TLS": f"https://{CLOUD}/latest/token",
    "a private network": "https://10.0.0.1/token",
    "the name as a user": f"https://{HOST}@{EVIL}/token",
    "a backslash": f"https://{EVIL}\\\\@{HOST}/token",
    "a file": "file:///etc/passwd",
    "a socket": "unix:///run/x.sock",
}

CASES = [
    *[Case(f"realm is {name}", 81, realm(url)) for name, url in REALMS.items()],
    Case("identity token to another domain", 81, identity_token),
    *[Case(f"token server redirects by {code}", 81, token_server_redirects(code, HOST)) for code in (302, 307, 308)],
    Case("token server of the domain redirects", 81, token_server_redirects(307, NAMES[1])),
    Case("token server of the domain", 81, token_server_of_the_domain, works=True),
    Case("other wants Basic", 81, other_asks_after_redirect('Basic realm="x"')),
    Case("other names itself", 81, other_asks_after_redirect('Bearer realm="https://{other}/token"')),
    Case("other names the registry", 81, other_asks_after_redirect('Bearer realm="https://{home}/token"')),
    Case("token for more than this pull", 81, wider_scope, works=True),
    *[
        Case(f"manifest redirected by {code}", 82, redirect("/manifests/", code, f"https://{EVIL}{{path}}"), works=True)
        for code in (301, 302, 303, 307, 308)
    ],
    *[
        Case(f"layer redirected by {code}", 82, redirect("/blobs/", code, f"https://{EVIL}{{path}}?X-S=1"), works=True)
        for code in (302, 307)
    ],
    Case("layer redirected, with a token", 82, bearer(redirect("/blobs/", 307, f"https://{EVIL}{{path}}")), works=True),
    Case("redirect to another port", 82, redirect("/blobs/", 307, f"https://{HOST}:8443{{path}}"), works=True),
    Case("redirect to no TLS", 82, redirect("/blobs/", 307, f"http://{HOST}{{path}}")),
    Case("redirect to no TLS, another host", 82, redirect("/manifests/", 302, f"http://{EVIL}{{path}}")),
    Case("redirect without a scheme", 82, redirect("/blobs/", 302, f"//{EVIL}{{path}}"), works=True),
    Case("redirect with a user", 82, redirect("/blobs/", 302, f"https://{HOST}@{EVIL}{{path}}")),
    Case("redirect with a backslash", 82, redirect("/blobs/", 302, f"https://{EVIL}\\@{HOST}{{path}}")),
    Case("redirect with a tab", 82, redirect("/blobs/", 302, f"https://{HOST}\t.{EVIL}{{path}}")),
    Case("redirect to a file", 82, redirect("/blobs/", 302, "file:///etc/passwd")),
    Case("redirect to a socket", 82, redirect("/blobs/", 302, "unix:///run/x.sock")),
    Case("foreign layer", 80, foreign_layer),
    Case("no TLS, Basic", 79, without_tls('Basic realm="x"')),
    Case("no TLS, tokens of the same host", 79, without_tls(f'Bearer realm="http://{HOST}/token"')),
    Case("no TLS, tokens with TLS", 79, without_tls(f'Bearer realm="https://{NAMES[1]}/token"')),
    Case("no TLS at the port of TLS", 79, no_tls_at_all),
    Case("mirror", 79, mirror, works=True),
    Case("mirror, password on the command line", 79, mirror_with_creds, works=True),
    Case("registry that was moved", 79, moved),
    Case("longer name", 79, named(f"{HOST}.{EVIL}/app")),
    Case("another port of the registry", 79, named(f"{HOST}:8443/app")),
]
