"""SHA-256 of small data without OpenSSL, which takes longer to load than to hash any document of an image."""

from __future__ import annotations

import sys

_OWN = "_sha2" if sys.version_info >= (3, 12) else "_sha256"
SMALL = 1 << 20
"""Bytes up to which the interpreter's own code is as good; beyond, OpenSSL's is several times faster."""


def hexdigest(data: bytes) -> str:
    """The digest in hexadecimal digits."""
    if len(data) <= SMALL and _OWN in sys.builtin_module_names:
        digest: str = __import__(_OWN).sha256(data).hexdigest()
        return digest
    from hashlib import sha256

    return sha256(data).hexdigest()
