"""How the user asked to reach registries: the flags that pull, login and their like share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rootless.errors import UsageError
from rootless.registry import authfile
from rootless.registry.authfile import Credentials
from rootless.registry.retry import Limits


def _say_nothing(text: str) -> None:
    """The default of ``ConnectionOptions.say``."""


@dataclass(frozen=True)
class ConnectionOptions:
    """``tls_verify`` None: as registries.conf says. ``say`` is given one line for each wait or retry.

    ``trusted_realms`` maps a registry's host to the token servers that the user trusts with its password.
    """

    credentials: Credentials | None = None
    authfile: str = ""
    cert_dir: str = ""
    tls_verify: bool | None = None
    trusted_realms: Mapping[str, list[str]] = field(default_factory=dict)
    say: Callable[[str], None] = _say_nothing
    limits: Limits = field(default_factory=Limits)

    @classmethod
    def from_values(
        cls,
        values: Mapping[str, Any],
        *,
        trusted_realms: Mapping[str, list[str]] | None = None,
        say: Callable[[str], None] = _say_nothing,
    ) -> ConnectionOptions:
        """Read ``--creds --authfile --cert-dir --tls-verify`` from the command line's values."""
        creds = values.get("creds")
        return cls(
            credentials=authfile.parse_creds(creds) if creds else None,
            authfile=values.get("authfile") or "",
            cert_dir=values.get("cert_dir") or "",
            tls_verify=parse_switch(values.get("tls_verify"), "--tls-verify"),
            trusted_realms=trusted_realms or {},
            say=say,
        )


def parse_switch(value: object, flag: str) -> bool | None:
    """Read an optional boolean flag (``--tls-verify=false``); None if it was not given. Raises UsageError."""
    if value is None or isinstance(value, bool):
        return value
    text = str(value).lower()
    if text in ("true", "1", "t"):
        return True
    if text in ("false", "0", "f"):
        return False
    raise UsageError(f"cannot use {flag}={value}: not true or false")
