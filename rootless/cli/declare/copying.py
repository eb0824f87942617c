"""Commands that move files in and out of containers."""

from __future__ import annotations

from rootless.cli.declare.command import Command
from rootless.cli.declare.complete import containers, images
from rootless.cli.declare.containers import ONE_CONTAINER
from rootless.cli.declare.life import LATEST
from rootless.cli.declare.options import Arguments, flag, many, text
from rootless.cli.declare.resources import LIMITS

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
        ("commit", "container commit"),
        "copying:commit",
        "Make an image out of a container.",
        (
            text("--author", "-a", help="Who made the image."),
            many("--change", "-c", help="Apply a Containerfile instruction to the image.", metavar="WORD=VALUE"),
            text("--config", help="Merge the configuration in this JSON file into the image's.", metavar="FILE"),
            text("--format", "-f", help="Format of the image: oci (the default) or docker.", metavar="oci|docker"),
            text("--iidfile", help="Write the image's ID to this file too.", metavar="FILE"),
            flag("--include-volumes", help="Declare the container's volumes and binds as volumes of the image."),
            text("--message", "-m", help="A comment in the image's history (docker format only)."),
            flag("--pause", "-p", help="Pause the container meanwhile (on unless =false)."),
            flag("--quiet", "-q", help="Do not say when the container cannot be paused."),
            flag("--squash", "-s", help="One layer of everything instead of one more."),
        ),
        Arguments("CONTAINER [IMAGE]", 1, 2, containers),
        panel="Containers",
        examples=("rootless commit web web:tested", "rootless commit -c 'CMD [\"/bin/sh\"]' -c EXPOSE=80 web web:new"),
    ),
    Command(
        ("cp", "container cp"),
        "copying:cp",
        "Copy files between a container and the host, or between two containers.",
        (
            flag("--archive", "-a", help="Give the files to the container's user (on; =false keeps the owners)."),
            flag("--overwrite", help="Let a directory take the place of a file, and the reverse."),
        ),
        Arguments("[CONTAINER:]SOURCE [CONTAINER:]TARGET", 2, 2, containers),
        panel="Containers",
        examples=("rootless cp notes.txt web:/srv", "rootless cp web:/etc/. here", "tar c . | rootless cp - web:/srv"),
    ),
    Command(
        ("mount", "container mount"),
        "copying:mount",
        "Mount containers that do not run and print the paths, inside rootless unshare; list what is mounted.",
        (
            flag("--all", "-a", help="All containers that do not run."),
            text("--format", help="List what is mounted as json.", metavar="json"),
            LATEST,
            flag("--no-trunc", "--notruncate", help="Full IDs."),
        ),
        Arguments("[CONTAINER...]", complete=containers),
        panel="Containers",
        examples=("rootless unshare sh -c 'ls $(rootless mount web)'",),
    ),
    Command(
        ("unmount", "container unmount"),
        "copying:unmount",
        "Take away what mount has mounted.",
        (
            flag("--all", "-a", help="All that are mounted."),
            flag("--force", "-f", help="Also while they are in use."),
            LATEST,
        ),
        Arguments("[CONTAINER...]", complete=containers),
        panel="Containers",
        hidden_paths=("umount", "container umount"),
    ),
    Command(
        ("container clone",),
        "copying:clone",
        "Make a new container as another was made.",
        (
            flag("--destroy", help="Remove the original."),
            flag("--force", "-f", help="With --destroy, also if it runs."),
            text("--name", help="Name of the new container (NAME-clone).", metavar="NAME"),
            flag("--run", help="Start the new container."),
            text("--shm-size", help="Size of /dev/shm.", metavar="SIZE"),
            *LIMITS,
        ),
        Arguments("CONTAINER [NAME [IMAGE]]", 1, 3, containers),
        examples=("rootless container clone --destroy --memory 1g web", "rootless container clone web web2 web:new"),
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
