"""Signatures by a sigstore key, as ``cosign`` makes them: of a payload's bytes, by ECDSA, RSA (PKCS #1) or Ed25519."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from rootless.engine.images.trust.payload import SignatureError
from rootless.errors import RootlessError
from storage import jsonfast
from storage.errors import StorageError

PAYLOAD_TYPE = "application/vnd.dev.cosign.simplesigning.v1+json"
"""Media type of a layer of a signature image: the payload that was signed."""
SIGNATURE = "dev.cosignproject.cosign/signature"
"""Annotation of that layer: the signature in base64."""

LEAST_RSA_BITS = 2048

_MAX_SCRYPT = 1 << 29
"""Bytes of memory that scrypt may take to open a key; cosign's keys take 32 MiB."""

_ENCRYPTED = ("ENCRYPTED SIGSTORE PRIVATE KEY", "ENCRYPTED COSIGN PRIVATE KEY")
_CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)


def public_key(pem: bytes, where: str) -> Any:
    """A public key in PEM. Raises RootlessError that names ``where``."""
    try:
        key = serialization.load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise RootlessError(f"cannot use the public key {where}: {error}"[:300], "give it in PEM form") from None
    _check(key, where)
    return key


def _check(key: Any, where: str) -> None:
    """Refuse keys of other kinds, and RSA keys that others can factor."""
    if isinstance(key, (rsa.RSAPublicKey, rsa.RSAPrivateKey)):
        good = key.key_size >= LEAST_RSA_BITS
    elif isinstance(key, (ec.EllipticCurvePublicKey, ec.EllipticCurvePrivateKey)):
        good = isinstance(key.curve, _CURVES)
    else:
        good = isinstance(key, (ed25519.Ed25519PublicKey, ed25519.Ed25519PrivateKey))
    if not good:
        wanted = "ECDSA on a NIST curve, Ed25519, or RSA from 2048 bits"
        raise RootlessError(f"cannot use the key {where}: it is of a kind that is not accepted", f"use {wanted}")


def verify(payload: bytes, signature: str, keys: Sequence[Any]) -> None:
    """See that ``signature`` (base64) is one of ``payload`` by one of ``keys``. Raises SignatureError."""
    try:
        raw = base64.b64decode(signature, validate=True)
    except (binascii.Error, ValueError):
        raise SignatureError("it is not base64") from None
    for key in keys:
        try:
            if isinstance(key, rsa.RSAPublicKey):
                key.verify(raw, payload, padding.PKCS1v15(), hashes.SHA256())
            elif isinstance(key, ec.EllipticCurvePublicKey):
                key.verify(raw, payload, ec.ECDSA(hashes.SHA256()))
            else:
                key.verify(raw, payload)
            return
        except InvalidSignature:
            continue
    raise SignatureError("it is not by an accepted key, or not of this payload")


def private_key(data: bytes, passphrase: bytes | None, where: str) -> Any:
    """A private key: PEM (PKCS #8 and its like, encrypted or not) or the encrypted form of cosign.

    Raises RootlessError that names ``where``.
    """
    for kind in _ENCRYPTED:
        if f"-----BEGIN {kind}-----".encode() in data:
            if passphrase is None:
                raise _wants_passphrase(where)
            data, passphrase = _decrypted(data, kind, passphrase, where), None
            break
    try:
        if data.lstrip().startswith(b"-----BEGIN"):
            key = serialization.load_pem_private_key(data, passphrase)
        else:
            key = serialization.load_der_private_key(data, None)
    except TypeError as error:
        if passphrase is None:
            raise _wants_passphrase(where) from None
        raise RootlessError(f"cannot use the private key {where}: {error}") from None
    except (ValueError, UnsupportedAlgorithm) as error:
        raise RootlessError(f"cannot use the private key {where}: {error}"[:300], "is the passphrase right?") from None
    _check(key, where)
    return key


def _wants_passphrase(where: str) -> RootlessError:
    return RootlessError(f"cannot use the private key {where}: it is encrypted", "give --sign-passphrase-file")


def _decrypted(data: bytes, kind: str, passphrase: bytes, where: str) -> bytes:
    """The key in DER, out of the form in which cosign keeps keys: scrypt, and a secret box of NaCl."""
    import hashlib

    from nacl.exceptions import CryptoError
    from nacl.secret import SecretBox

    body = data.partition(f"-----BEGIN {kind}-----".encode())[2].partition(f"-----END {kind}-----".encode())[0]
    try:
        box = jsonfast.loads_strict(base64.b64decode(b"".join(body.split()), validate=True))
        kdf, cipher = box["kdf"], box["cipher"]
        if kdf["name"] != "scrypt" or cipher["name"] != "nacl/secretbox":
            raise ValueError("an unknown cipher")
        cost, block, lanes = (int(kdf["params"][name]) for name in ("N", "r", "p"))
        if cost < 2 or block < 1 or not 0 < lanes <= 16 or cost * block > _MAX_SCRYPT >> 7:
            raise ValueError("parameters of scrypt beyond all measure")
        salt, nonce, text = (base64.b64decode(item) for item in (kdf["salt"], cipher["nonce"], box["ciphertext"]))
        secret = hashlib.scrypt(passphrase, salt=salt, n=cost, r=block, p=lanes, maxmem=2 * _MAX_SCRYPT, dklen=32)
        return SecretBox(secret).decrypt(text, nonce)
    except CryptoError:
        raise RootlessError(f"cannot use the private key {where}: the passphrase is wrong") from None
    except (StorageError, KeyError, TypeError, ValueError, binascii.Error) as error:
        raise RootlessError(f"cannot use the private key {where}: {error}"[:300]) from None


def sign(payload: bytes, key: Any) -> str:
    """The signature of ``payload`` in base64."""
    if isinstance(key, rsa.RSAPrivateKey):
        raw = key.sign(payload, padding.PKCS1v15(), hashes.SHA256())
    elif isinstance(key, ec.EllipticCurvePrivateKey):
        raw = key.sign(payload, ec.ECDSA(hashes.SHA256()))
    else:
        raw = key.sign(payload)
    return base64.b64encode(raw).decode("ascii")
