"""Certificates for tests of TLS, signed by an authority of their own; made by openssl."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path

_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


class Authority:
    """``certificate`` is what a client has to trust; ``issue`` makes what a server shows."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.certificate = directory / "ca.crt"
        self._openssl("req", "-x509", *_KEY, "-days", "2", "-subj", "/CN=test authority",
                      "-keyout", "ca.key", "-out", "ca.crt")  # fmt: skip

    def _openssl(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=self.directory, check=True, capture_output=True)

    def issue(self, name: str, *alternatives: str, days: int = 2) -> Path:
        """A file ``NAME.pem`` of certificate and key for ``alternatives``, such as ``DNS:host`` or ``IP:127.0.0.1``."""
        self._openssl("req", *_KEY, "-subj", f"/CN={name}", "-keyout", f"{name}.key",
                      "-out", f"{name}.csr")  # fmt: skip
        (self.directory / "extensions").write_text(f"subjectAltName={','.join(alternatives)}\n")
        self._openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial",
                      "-days", str(days), "-extfile", "extensions", "-out", f"{name}.crt")  # fmt: skip
        pem = self.directory / f"{name}.pem"
        pem.write_text((self.directory / f"{name}.crt").read_text() + (self.directory / f"{name}.key").read_text())
        return pem


def serving(pem: Path) -> ssl.SSLContext:
    """A server's context with the certificate and key in ``pem``."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context
