"""TLS contexts: the system's authorities, ``certs.d`` directories, client certificates, or no verification.

A ``certs.d/HOST[:PORT]`` directory (containers-certs.d(5)) holds ``*.crt`` (authorities) and pairs ``*.cert`` with
``*.key`` (client certificates); ``--cert-dir`` names one such directory directly.
"""

from __future__ import annotations

import os
import ssl
from pathlib import Path

from rootless import paths
from rootless.registry.errors import RegistryError

# OpenSSL's reasons where the other side knows none of the versions that are spoken here.
_OLD_TLS = frozenset({"UNSUPPORTED_PROTOCOL", "TLSV1_ALERT_PROTOCOL_VERSION", "WRONG_SSL_VERSION", "VERSION_TOO_LOW"})

# OpenSSL's reasons for an answer that is not a TLS record.
_NOT_TLS = frozenset({"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG"})


def certificate_directories(host: str, cert_dir: str = "") -> list[Path]:
    """The directories whose certificates apply to ``host`` ("name[:port]").

    Raises RegistryError if the one asked for is not there.
    """
    if cert_dir:
        if not os.path.isdir(cert_dir):
            raise RegistryError(f"cannot read certificates from {cert_dir}: no such directory", "correct --cert-dir")
        return [Path(cert_dir)]
    bases = [Path(paths.config_home()) / "containers", Path("/etc/containers"), Path("/etc/docker")]
    return [base / "certs.d" / host for base in bases if (base / "certs.d" / host).is_dir()]


def context(*, verify: bool, directories: list[Path]) -> ssl.SSLContext:
    """A client context of TLS 1.2 or newer. Raises RegistryError for a certificate file that cannot be used."""
    made = ssl.create_default_context()
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    if verify:
        _load_system_authorities(made)
    else:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    for directory in directories:
        for authority in sorted(directory.glob("*.crt")):
            _load(made, authority, None)
        for certificate in sorted(directory.glob("*.cert")):
            key = certificate.with_suffix(".key")
            if not key.exists():
                raise RegistryError(f"cannot use client certificate {certificate}: {key.name} is missing")
            _load(made, certificate, key)
    return made


def _load(made: ssl.SSLContext, certificate: Path, key: Path | None) -> None:
    try:
        if key is None:
            made.load_verify_locations(cafile=certificate)
        else:
            made.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise RegistryError(f"cannot use certificate {certificate}: {error.strerror or error}") from None


def _load_system_authorities(made: ssl.SSLContext) -> None:
    """Machines without ca-certificates have an empty system store: take the bundle that came with the program."""
    known = ssl.get_default_verify_paths()
    in_file: str | None = known.cafile
    in_directory: str | None = known.capath
    if in_file is None and (in_directory is None or not os.listdir(in_directory)):
        import certifi

        made.load_verify_locations(cafile=certifi.where())


def explain(error: BaseException) -> str:
    """Why a TLS handshake failed, in a few words."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        if isinstance(current, ssl.SSLCertVerificationError):
            return f"its certificate is not trusted: {current.verify_message}"
        if isinstance(current, ssl.SSLError) and current.reason:
            if current.reason in _NOT_TLS:
                return "it does not speak TLS"
            if current.reason in _OLD_TLS:
                return "it speaks no version of TLS that is safe (1.2 or newer)"
            return f"TLS failed: {current.reason.lower().replace('_', ' ')}"
        reason = getattr(current, "reason", None)
        inner = reason if isinstance(reason, BaseException) else current.args[0] if current.args else None
        current = inner if isinstance(inner, BaseException) else current.__cause__ or current.__context__
    return "TLS failed"
