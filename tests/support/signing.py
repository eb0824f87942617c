"""Keys for signatures: a GnuPG home of a test's own, and sigstore keys in the forms that cosign and openssl write."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.images import remove_tree

PASSPHRASE = "open, sesame"


class Keys:
    """OpenPGP keys ``signer`` and ``stranger`` without a passphrase."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.environment = {"GNUPGHOME": str(home)}
        for who in ("signer", "stranger"):
            self._gpg("--passphrase", "", "--quick-gen-key", f"{who}@example.com", "rsa2048", "sign", "never")
            self.public(who).write_bytes(self._gpg("--armor", "--export", f"{who}@example.com"))

    def _gpg(self, *words: str, stdin: bytes = b"") -> bytes:
        environment = {**os.environ, **self.environment}
        return subprocess.run(
            ["gpg", "--batch", "--yes", *words], input=stdin, check=True, capture_output=True, env=environment
        ).stdout

    def public(self, who: str) -> Path:
        """The file of an armored public key."""
        return self.home / f"{who}.asc"

    def fingerprint(self, who: str) -> str:
        """The fingerprint of a key."""
        rows = self._gpg("--with-colons", "--list-keys", f"{who}@example.com").decode().splitlines()
        return next(row.split(":")[9] for row in rows if row.startswith("fpr:"))

    def sign(self, data: bytes, who: str = "signer") -> bytes:
        """A signed message of ``data``."""
        return self._gpg("--local-user", f"{who}@example.com", "--sign", "--output", "-", stdin=data)


@contextmanager
def gpg_keys() -> Iterator[Keys]:
    """Keys in a home whose path is short enough for the agent's socket; the agent is ended afterwards."""
    home = Path(tempfile.mkdtemp(prefix="rg-", dir="/var/tmp"))
    keys = Keys(home)
    try:
        yield keys
    finally:
        environment = {**os.environ, **keys.environment}
        subprocess.run(["gpgconf", "--kill", "all"], env=environment, check=False)
        remove_tree(home)


def new_key(kind: str) -> Any:
    """A private key: p256, p384, ed25519 or rsa."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    if kind == "rsa":
        return rsa.generate_private_key(public_exponent=65537, key_size=2048)
    if kind == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    return ec.generate_private_key(ec.SECP384R1() if kind == "p384" else ec.SECP256R1())


def public_pem(key: Any) -> bytes:
    """The public half in PEM."""
    from cryptography.hazmat.primitives import serialization

    return bytes(
        key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )


def private_pem(key: Any, passphrase: str = "") -> bytes:
    """The key in PKCS #8, encrypted if there is a passphrase."""
    from cryptography.hazmat.primitives import serialization

    how: Any = serialization.NoEncryption()
    if passphrase:
        how = serialization.BestAvailableEncryption(passphrase.encode())
    return bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, how))


def cosign_pem(key: Any, passphrase: str, kind: str = "ENCRYPTED COSIGN PRIVATE KEY") -> bytes:
    """The key as cosign writes it: DER in a secret box of NaCl, whose key scrypt makes of the passphrase."""
    from cryptography.hazmat.primitives import serialization
    from nacl.secret import SecretBox

    der = key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    salt, nonce, cost = os.urandom(32), os.urandom(24), {"N": 32768, "r": 8, "p": 1}
    secret = hashlib.scrypt(passphrase.encode(), salt=salt, n=32768, r=8, p=1, maxmem=1 << 27, dklen=32)
    box = {
        "kdf": {"name": "scrypt", "params": cost, "salt": base64.b64encode(salt).decode()},
        "cipher": {"name": "nacl/secretbox", "nonce": base64.b64encode(nonce).decode()},
        "ciphertext": base64.b64encode(SecretBox(secret).encrypt(der, nonce).ciphertext).decode(),
    }
    text = base64.encodebytes(json.dumps(box).encode())
    return f"-----BEGIN {kind}-----\n".encode() + text + f"-----END {kind}-----\n".encode()
