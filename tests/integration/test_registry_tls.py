"""TLS: what is trusted, and what a mistrusted registry is told."""

from __future__ import annotations

import shutil
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rootless.registry.client import Registry
from rootless.registry.errors import RegistryError
from rootless.registry.options import ConnectionOptions
from rootless.registry.registries_conf import Endpoint
from rootless.registry.retry import Limits
from tests.fakes.registry import FakeRegistry
from tests.support.certificates import Authority
from tests.support.certificates import serving as server_context

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
QUICK = Limits(connect_timeout=5, idle_seconds=5, first_wait=0.01)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with ca.crt; server.pem for 127.0.0.1; client.crt and .key."""
    authority = Authority(tmp_path_factory.mktemp("certificates"))
    authority.issue("server", "IP:127.0.0.1")
    authority.issue("client", "DNS:client")
    return authority.directory


@contextmanager
def serving(pem: Path, client_authority: Path | None = None) -> Iterator[FakeRegistry]:
    """A registry behind TLS with the certificate and key in ``pem``."""
    context = server_context(pem)
    if client_authority is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(client_authority)
    with FakeRegistry(tls=context) as fake:
        fake.add_image("app", [b""])
        yield fake


def pull(fake: FakeRegistry, cert_dir: Path | None = None, tls_verify: bool | None = None) -> None:
    options = ConnectionOptions(cert_dir=str(cert_dir or ""), tls_verify=tls_verify, limits=QUICK)
    Registry(Endpoint(fake.host, "app"), options).manifest("latest")


def authority(tmp_path: Path, certificates: Path, *more: str) -> Path:
    """A certs.d directory with the test authority, and the files named."""
    (tmp_path / "ca.crt").write_bytes((certificates / "ca.crt").read_bytes())
    for name in more:
        source = certificates / name
        (tmp_path / name.replace("client.crt", "client.cert")).write_bytes(source.read_bytes())
    return tmp_path


def test_an_authority_of_a_cert_dir_is_trusted(certificates: Path, tmp_path: Path) -> None:
    with serving(certificates / "server.pem") as fake:
        pull(fake, authority(tmp_path, certificates))


def test_the_users_certs_d_is_read(certificates: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    with serving(certificates / "server.pem") as fake:
        directory = tmp_path / "containers" / "certs.d" / fake.host
        directory.mkdir(parents=True)
        authority(directory, certificates)
        pull(fake)


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_who_mistrusts_is_told_what_to_do_and_may_overrule_it(certificates: Path) -> None:
    with serving(certificates / "server.pem") as fake:
        with pytest.raises(RegistryError, match="not trusted") as refusal:
            pull(fake)
        assert "--cert-dir" in refusal.value.hint
        assert fake.seen == []
        pull(fake, tls_verify=False)


def test_a_client_certificate(certificates: Path, tmp_path: Path) -> None:
    with serving(certificates / "server.pem", certificates / "ca.crt") as fake:
        with pytest.raises(RegistryError):
            pull(fake, authority(tmp_path, certificates))
        pull(fake, authority(tmp_path, certificates, "client.crt", "client.key"))


def test_a_certificate_without_its_key(certificates: Path, tmp_path: Path) -> None:
    with serving(certificates / "server.pem") as fake, pytest.raises(RegistryError, match=r"client\.key is missing"):
        pull(fake, authority(tmp_path, certificates, "client.crt"))


def test_threads_share_one_connection_setup(certificates: Path, tmp_path: Path) -> None:
    with serving(certificates / "server.pem") as fake:
        options = ConnectionOptions(cert_dir=str(authority(tmp_path, certificates)), limits=QUICK)
        registry = Registry(Endpoint(fake.host, "app"), options)
        failures: list[BaseException] = []

        def work() -> None:
            try:
                registry.manifest("latest")
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=work) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
