"""OpenPGP signatures, by GnuPG: ``gpgv`` verifies and knows no keys but those it is given, ``gpg`` signs."""

from __future__ import annotations

import base64
import binascii
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence

from rootless.engine.images.trust.payload import MAX_BYTES, SignatureError
from rootless.errors import RootlessError

SECONDS = 60.0
"""How long gpgv may take; gpg may ask for a passphrase and has no limit."""

_BEGIN, _END = b"-----BEGIN PGP PUBLIC KEY BLOCK-----", b"-----END PGP PUBLIC KEY BLOCK-----"

# What gpgv tells beside a good signature if it is not one after all (doc/DETAILS of GnuPG).
_BAD = frozenset(
    "BADSIG ERRSIG EXPSIG EXPKEYSIG REVKEYSIG NO_PUBKEY NODATA UNEXPECTED FAILURE KEYREVOKED KEYEXPIRED"
    " SIGEXPIRED".split()
)


_ONCE = ("PLAINTEXT", "GOODSIG", "VALIDSIG")
"""What is told once of one text with one signature."""


def verify(signature: bytes, keys: Sequence[bytes], directory: str) -> bytes:
    """What was signed, once ``signature`` (a signed OpenPGP message) is proven to be by one of ``keys``.

    ``keys`` are exported public keys, armored or not; ``directory`` is one of this process's own for passing files.
    Raises SignatureError, and RootlessError where gpgv is missing.
    """
    program = _program("gpgv")
    with tempfile.TemporaryDirectory(dir=directory) as home:
        with open(f"{home}/keys.gpg", "wb") as file:
            file.write(b"".join(dearmored(key) for key in keys))
        with open(f"{home}/signature", "wb") as file:
            file.write(signature)
        command = [
            program, "--homedir", home, "--keyring", f"{home}/keys.gpg", "--status-fd", "1", "--output",
            f"{home}/payload", f"{home}/signature",
        ]  # fmt: skip
        try:
            # Opened for reading alone: who fetches may write to the store and nothing else.
            with open(os.devnull, "rb") as nothing:
                done = subprocess.run(
                    command, stdin=nothing, capture_output=True, timeout=SECONDS, check=False,
                    env={"PATH": os.defpath, "LC_ALL": "C"},
                )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as error:
            raise SignatureError(f"gpgv cannot verify it: {error}") from None
        words = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith(b"[GNUPG:] ")]
        told = [line[0].decode("ascii", "replace") for line in words if line]
        if done.returncode != 0 or _BAD & set(told) or any(told.count(each) != 1 for each in _ONCE):
            raise SignatureError(_why(told))
        try:
            with open(f"{home}/payload", "rb") as file:
                return file.read(MAX_BYTES + 1)
        except OSError:
            raise SignatureError("it holds nothing") from None


def _why(told: list[str]) -> str:
    for word, text in (
        ("NO_PUBKEY", "it is by a key that is not accepted"), ("ERRSIG", "it is by a key that is not accepted"),
        ("BADSIG", "it does not fit what it signs"), ("EXPKEYSIG", "its key has expired"),
        ("REVKEYSIG", "its key was revoked"), ("EXPSIG", "it has expired"),
    ):  # fmt: skip
        if word in told:
            return text
    return "it is not one signed OpenPGP message"


def dearmored(key: bytes) -> bytes:
    """Public keys in binary form, of one or more armored blocks. Raises RootlessError for anything else."""
    if _BEGIN not in key:
        if key[:1] and key[0] & 0x80:
            return key
        raise RootlessError("cannot use a public key: it is not an exported OpenPGP key", "gpg --export KEY > FILE")
    found = b""
    for block in key.split(_BEGIN)[1:]:
        body = block.partition(_END)[0].replace(b"\r", b"").partition(b"\n\n")[2]
        # The last line begins with = and holds a checksum, which proves nothing.
        text = b"".join(line.strip() for line in body.split(b"\n") if not line.startswith(b"="))
        try:
            found += base64.b64decode(text, validate=True)
        except binascii.Error as error:
            raise RootlessError(f"cannot use an armored public key: {error}") from None
    return found


def check_key(fingerprint: str) -> None:
    """See that the user has the secret key ``fingerprint``. Raises RootlessError."""
    command = [_program("gpg"), "--batch", "--no-tty", "--list-secret-keys", "--", fingerprint]
    if subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode != 0:
        raise RootlessError(
            f"cannot sign with the key {fingerprint}: you have no such secret key",
            "'gpg --list-secret-keys' shows your keys",
        )


def sign(payload: bytes, fingerprint: str, passphrase: str | None = None) -> bytes:
    """A signed OpenPGP message of ``payload`` by the user's key ``fingerprint``. Raises RootlessError."""
    command = [_program("gpg"), "--batch", "--no-tty", "--yes", "--local-user", fingerprint]
    reader = -1
    if passphrase is not None:
        reader, writer = os.pipe()
        os.write(writer, passphrase.encode())
        os.close(writer)
        command += ["--pinentry-mode", "loopback", "--passphrase-fd", str(reader)]
    try:
        done = subprocess.run(
            [*command, "--sign", "--output", "-"], input=payload, capture_output=True, check=False,
            pass_fds=[reader] if reader >= 0 else [],
        )  # fmt: skip
    except OSError as error:
        raise RootlessError(f"cannot run gpg: {error.strerror}") from None
    finally:
        if reader >= 0:
            os.close(reader)
    if done.returncode != 0 or not done.stdout:
        lines = [line for line in done.stderr.decode("utf-8", "replace").splitlines() if line.strip()]
        raise RootlessError(
            f"cannot sign with the key {fingerprint}: {lines[-1] if lines else 'gpg failed'}",
            "--sign-passphrase-file gives a passphrase",
        )
    return done.stdout


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise RootlessError(f"cannot find {name}, which signatures need", "install GnuPG: apt install gpg gpgv")
    return found
