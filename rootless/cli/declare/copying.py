"""Commands that move files in and out of containers."""

from __future__ import annotations

from rootless.cli.declare.command import Command
from rootless.cli.declare.complete import containers, images
from rootless.cli.declare.containers import ONE_CONTAINER
from rootless.cli.declare.options import Arguments, flag, text

LATEST = flag("--latest", "-l", help="The container that was created last.")
JSON = text("--format", help="Output as json.", metavar="json")

COMMANDS = (
    Command(
        ("diff",),
        "copying:diff",
        "Show what a container changed of its image, or in what two images differ.",
        (JSON, LATEST),
        Arguments("CONTAINER|IMAGE [CONTAINER|IMAGE]", 0, 2, containers),
        panel="Containers",
        examples=("rootless diff web", "rootless diff --format json new-image old-image"),
    ),
    Command(
        ("export", "container export"),
        "copying:export",
        "Write a container's root file system as a tar archive.",
        (text("--output", "-o", help="Write to this file, not to standard output.", metavar="FILE"),),
        ONE_CONTAINER,
        panel="Containers",
        examples=("rootless export web > web.tar", "rootless export web | rootless import - web-image"),
    ),
    Command(
        ("container diff",),
        "copying:diff_container",
        "Show what a container changed of its image.",
        (JSON, LATEST),
        Arguments("CONTAINER [CONTAINER]", 0, 2, containers),
    ),
    Command(
        ("image diff",),
        "copying:diff_image",
        "Show in what an image differs from the one below its last layer, or from another.",
        (JSON,),
        Arguments("IMAGE [IMAGE]", 1, 2, images),
    ),
)
