"""SHA-256 of small data without OpenSSL, which takes longer to load than to hash any document of an image."""

from __future__ import annotations

SMALL = 1 << 20
"""Bytes up to which the interpreter's own code is as good; beyond, OpenSSL's is several times faster."""


def hexdigest(data: bytes) -> str:
    """The digest in hexadecimal digits."""
    if len(data) <= SMALL:
        try:
            from _sha2 import sha256  # type: ignore[import-not-found,unused-ignore]  # from Python 3.12
        except ImportError:
            try:
                from _sha256 import sha256  # type: ignore[import-not-found,unused-ignore]
            except ImportError:
                from hashlib import sha256
    else:
        from hashlib import sha256
    digest: str = sha256(data).hexdigest()
    return digest
