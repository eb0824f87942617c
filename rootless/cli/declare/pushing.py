"""Commands that send images to registries, or ask what is there."""

from __future__ import annotations

from dataclasses import replace

from rootless.cli.declare.command import Command
from rootless.cli.declare.complete import images
from rootless.cli.declare.options import Arguments, flag, many, number, panel, text
from rootless.cli.declare.pulling import REGISTRY, RETRY
from rootless.cli.declare.trust import SIGNING

COMPRESSION = panel(
    "Compression",
    text("--compression-format", help="Compress all layers with gzip, zstd or zstd:chunked.", metavar="FORMAT"),
    number("--compression-level", help="How hard to compress: 1 to 9 for gzip, 1 to 20 for zstd."),
    flag(
        "--force-compression",
        help="Also what the registry has in another format (on with --compression-format unless =false).",
    ),
)

COMMANDS = (
    Command(
        ("push", "image push"),
        "pushing:push",
        "Send an image to a registry, an archive or a directory.",
        (
            flag("--all", "-a", help="Every image of an image list (on unless =false)."),
            *REGISTRY,
            flag("--compress", help="Compress plain layers in a directory (dir:PATH)."),
            *COMPRESSION,
            text("--digestfile", help="Write the digest of what was pushed to this file.", metavar="FILE"),
            replace(flag("--disable-content-trust", help="For scripts made for Docker: no effect."), hidden=True),
            text("--format", "-f", help="Manifest of the kind oci or v2s2 (as it is in the store).", metavar="FORMAT"),
            flag("--quiet", "-q", help="No progress on stderr."),
            flag("--remove-signatures", help="Push no signatures that the image came with; none are kept."),
            *SIGNING,
            *RETRY,
        ),
        Arguments("IMAGE [DESTINATION]", 1, 2, images),
        panel="Images",
        examples=(
            "rootless push registry.example.com/app:1",
            "rootless push app registry.example.com/app:1",
            "rootless push app oci-archive:app.tar",
        ),
    ),
    Command(
        ("search",),
        "pushing:search",
        "Look for images at registries.",
        (
            *REGISTRY,
            flag("--compatible", help="Show the columns STARS, OFFICIAL and AUTOMATED too."),
            many(
                "--filter", "-f", help="Only those with stars=N, is-official or is-automated.", metavar="FILTER"
            ),
            text("--format", help="Output as json, or a line for each by a Go template.", metavar="TEMPLATE"),
            number("--limit", help="How many to show of each registry (25)."),
            flag("--list-tags", help="List the tags of the repository TERM."),
            flag("--no-trunc", help="Whole descriptions."),
        ),
        Arguments("TERM", 1, 1),
        panel="Images",
        examples=("rootless search alpine", "rootless search --list-tags registry.example.com/app"),
    ),
)
