"""Commands about which images are accepted, and signatures."""

from __future__ import annotations

from rootless.cli.declare.command import Command
from rootless.cli.declare.complete import images
from rootless.cli.declare.options import Arguments, flag, many, text
from rootless.cli.declare.pulling import REGISTRY

SIGN_BY = text("--sign-by", help="Sign with this OpenPGP key of yours.", metavar="FINGERPRINT")
PASSPHRASE = text(
    "--sign-passphrase-file", help="File whose first line is the passphrase of the key.", metavar="FILE"
)
SIGNING = (
    SIGN_BY,
    text("--sign-by-sigstore-private-key", help="Sign with the sigstore key of this file.", metavar="FILE"),
    PASSPHRASE,
)
POLICY = text("--policypath", help="Another policy than the one that counts.", metavar="FILE")

COMMANDS = (
    Command(
        ("image sign",),
        "trust:sign",
        "Sign images of a registry with an OpenPGP key.",
        (
            flag("--all", "-a", help="Of an index each image too."),
            text("--directory", "-d", help="Where to put the signatures.", metavar="DIR"),
            SIGN_BY,
            PASSPHRASE,
            *REGISTRY,
        ),
        Arguments("IMAGE [IMAGE...]", 1, complete=images),
        examples=("rootless image sign --sign-by me@example.com docker://registry.example.com/app:1",),
    ),
    Command(
        ("image trust show",),
        "trust:show",
        "Show which images are accepted, and by which signatures.",
        (
            flag("--json", "-j", help="Output as JSON."),
            flag("--raw", help="The text of the policy."),
            POLICY,
            text("--registrypath", help="Another directory than registries.d.", metavar="DIR"),
        ),
        Arguments("[REGISTRY]", 0, 1),
    ),
    Command(
        ("image trust set",),
        "trust:set_trust",
        "Say which images of a registry, or of all others (default), are accepted.",
        (
            text("--type", "-t", help="accept, reject, signedBy (if not given) or sigstoreSigned.", metavar="TYPE"),
            many("--pubkeysfile", "-f", help="File of a public key.", metavar="FILE"),
            POLICY,
        ),
        Arguments("REGISTRY|default", 1, 1),
        examples=(
            "rootless image trust set --type reject default",
            "rootless image trust set --type signedBy --pubkeysfile team.asc registry.example.com/team",
        ),
    ),
)
