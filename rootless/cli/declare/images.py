"""Commands on images."""

from __future__ import annotations

from rootless.cli.declare.command import Command
from rootless.cli.declare.complete import images
from rootless.cli.declare.containers import FILTER, FORCE_PRUNE, FORMAT, PRUNE_FILTER, ROW_FORMAT
from rootless.cli.declare.options import Arguments, flag, many, text
from rootless.cli.declare.pulling import OS_AND_ARCH, PLATFORM, REGISTRY, RETRY

ONE_IMAGE = Arguments("IMAGE", 1, 1, images)
IMAGES = Arguments("IMAGE [IMAGE...]", complete=images)
QUIET_PULL = flag("--quiet", "-q", help="No progress on stderr.")

COMMANDS = (
    Command(
        ("pull", "image pull"),
        "images:pull",
        "Fetch images from a registry, an archive or a directory.",
        (
            *PLATFORM,
            *REGISTRY,
            text("--policy", help="When to pull: always, missing, never or newer (always).", metavar="POLICY"),
            *RETRY,
            QUIET_PULL,
        ),
        Arguments("IMAGE [IMAGE...]", 1, complete=images),
        panel="Images",
        examples=("rootless pull docker.io/library/alpine:3.20", "rootless pull oci-archive:image.tar"),
    ),
    Command(
        ("images", "image ls"),
        "images:images",
        "List images.",
        (
            flag("--all", "-a", help="Also those without a name that others are made of."),
            flag("--digests", help="Show digests."),
            FILTER,
            ROW_FORMAT,
            flag("--noheading", "-n", help="No heading."),
            flag("--no-trunc", help="Full IDs."),
            flag("--quiet", "-q", help="Only the IDs."),
            text("--sort", help="Order by created, id, repository, size or tag."),
        ),
        Arguments("[IMAGE]", 0, 1, images),
        panel="Images",
        hidden_paths=("image list",),
    ),
    Command(
        ("rmi", "image rm"),
        "images:rmi",
        "Remove images.",
        (
            flag("--all", "-a", help="All images."),
            flag("--force", "-f", help="Also the containers made of them."),
            flag("--ignore", "-i", help="No error if there is none."),
        ),
        IMAGES,
        panel="Images",
    ),
    Command(
        ("tag", "image tag"),
        "images:tag",
        "Give an image further names.",
        (),
        Arguments("IMAGE NAME [NAME...]", 2, complete=images),
        panel="Images",
    ),
    Command(
        ("untag", "image untag"),
        "images:untag",
        "Take names away from an image.",
        (),
        Arguments("IMAGE [NAME...]", 1, complete=images),
        panel="Images",
    ),
    Command(
        ("load", "image load"),
        "images:load",
        "Load images from an archive.",
        (
            text("--input", "-i", help="The archive; without it, standard input.", metavar="FILE"),
            QUIET_PULL,
        ),
        panel="Images",
        examples=("rootless load -i image.tar",),
    ),
    Command(
        ("save", "image save"),
        "images:save",
        "Write images to an archive or a directory.",
        (
            flag("--compress", help="Compress layers that are not (docker-dir only)."),
            text(
                "--format",
                help="docker-archive (the default), oci-archive, docker-dir or oci-dir.",
                metavar="FORMAT",
            ),
            flag("--multi-image-archive", "-m", help="Each name is an image, not a further name of the first."),
            text("--output", "-o", help="Write here, not to standard output.", metavar="PATH"),
            flag("--quiet", "-q", help="No progress on stderr."),
            flag("--uncompressed", help="Layers as plain tar archives (oci-archive and oci-dir only)."),
        ),
        Arguments("IMAGE [IMAGE...]", 1, complete=images),
        panel="Images",
        examples=(
            "rootless save -o app.tar app",
            "rootless save --format oci-archive app | ssh host rootless load",
            "rootless save -m -o both.tar app debian",
        ),
    ),
    Command(
        ("import", "image import"),
        "images:import_image",
        "Make an image of a tar archive of a root file system.",
        (
            many("--change", "-c", help="Containerfile instruction for the configuration.", metavar="INSTRUCTION"),
            text("--message", "-m", help="Comment in the history."),
            *OS_AND_ARCH,
            QUIET_PULL,
        ),
        Arguments("FILE|URL|- [NAME]", 1, 2),
        panel="Images",
    ),
    Command(
        ("history", "image history"),
        "images:history",
        "Show how an image was made.",
        (
            text("--format", help="Output as json, or a line for each by a Go template.", metavar="TEMPLATE"),
            flag("--human", "-H", help="Sizes and dates for people (on unless =false)."),
            flag("--no-trunc", help="Full IDs and instructions."),
            flag("--quiet", "-q", help="Only the IDs."),
        ),
        ONE_IMAGE,
        panel="Images",
    ),
    Command(
        ("image inspect",),
        "images:inspect",
        "Show all that is known of images.",
        (FORMAT,),
        Arguments("IMAGE [IMAGE...]", 1, complete=images),
    ),
    Command(
        ("image exists",),
        "images:exists",
        "Exit with 0 if there is such an image, else with 1.",
        (),
        ONE_IMAGE,
    ),
    Command(
        ("image tree",),
        "image_trees:tree",
        "Show the layers of an image.",
        (flag("--whatrequires", help="Those that other images have above its last one."),),
        ONE_IMAGE,
    ),
    Command(
        ("image mount",),
        "image_trees:mount",
        "Mount images and print the paths, inside rootless unshare; list what is mounted.",
        (
            flag("--all", "-a", help="All images."),
            text("--format", help="List what is mounted as json.", metavar="json"),
        ),
        Arguments("[IMAGE...]", complete=images),
        examples=("rootless unshare sh -c 'ls $(rootless image mount alpine)'",),
    ),
    Command(
        ("image unmount",),
        "image_trees:unmount",
        "Take away what image mount has mounted.",
        (
            flag("--all", "-a", help="All that are mounted."),
            flag("--force", "-f", help="Also while it is in use."),
        ),
        Arguments("[IMAGE...]", complete=images),
        hidden_paths=("image umount",),
    ),
    Command(
        ("image prune",),
        "images:prune",
        "Remove images without a name.",
        (
            flag("--all", "-a", help="Also those that no container uses."),
            flag("--build-cache", help="Also what RUN --mount=type=cache has kept."),
            flag("--external", help="Also those of containers that other programs made; no such are in this store."),
            FORCE_PRUNE,
            PRUNE_FILTER,
        ),
    ),
)
