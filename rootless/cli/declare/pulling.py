"""Options of every command that may fetch an image."""

from __future__ import annotations

from rootless.cli.declare.options import flag, number, text

OS_AND_ARCH = (
    text("--os", help="Operating system of the image.", metavar="OS"),
    text("--arch", help="Architecture of the image.", metavar="ARCH"),
    text("--variant", help="Variant of the architecture.", metavar="VARIANT"),
)

PLATFORM = (
    text("--platform", help="Platform of the image.", metavar="OS/ARCH[/VARIANT]"),
    *OS_AND_ARCH,
)

AUTHFILE = text("--authfile", help="File with credentials of registries.", metavar="FILE")

CONNECTION = (
    AUTHFILE,
    text("--cert-dir", help="Directory with certificates for the registry.", metavar="DIR"),
    flag("--tls-verify", help="Require HTTPS and check certificates (on unless =false)."),
)

REGISTRY = (
    *CONNECTION,
    text("--creds", help="Credentials for the registry.", metavar="USER[:PASSWORD]"),
)

RETRY = (
    number("--retry", help="How often to try again after a failure (3)."),
    text("--retry-delay", help="Pause between attempts.", metavar="DURATION"),
)
