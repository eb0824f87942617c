"""Commands on image lists: one name for the images of several platforms."""

from __future__ import annotations

from rootless.cli.declare.command import Command
from rootless.cli.declare.complete import images
from rootless.cli.declare.containers import FORMAT
from rootless.cli.declare.options import Arguments, commas, flag, many, text
from rootless.cli.declare.pulling import CONNECTION, REGISTRY, RETRY
from rootless.cli.declare.pushing import COMPRESSION
from rootless.cli.declare.trust import SIGNING

ONE_LIST = Arguments("LIST", 1, 1, images)
ANNOTATION = many("--annotation", help="Annotation of the entry.", metavar="KEY=VALUE")
OF_ENTRY = (
    text("--arch", help="Architecture to put down for the image.", metavar="ARCH"),
    commas("--features", help="CPU features to put down for the image.", metavar="FEATURE"),
    text("--os", help="Operating system to put down for the image.", metavar="OS"),
    commas("--os-features", help="Features of the operating system to put down.", metavar="FEATURE"),
    text("--os-version", help="Version of the operating system to put down.", metavar="VERSION"),
    text("--variant", help="Variant of the architecture to put down.", metavar="VARIANT"),
)

COMMANDS = (
    Command(
        ("manifest create",),
        "manifests:create",
        "Make an image list, empty or of images.",
        (
            flag("--all", help="Of a list among the images each entry, not only that for this machine."),
            flag("--amend", "-a", help="Add to the list if there is one of that name."),
            many("--annotation", help="Annotation of the list.", metavar="KEY=VALUE"),
            *REGISTRY,
        ),
        Arguments("LIST [IMAGE...]", 1, complete=images),
        examples=("rootless manifest create app:1 app:1-amd64 app:1-arm64",),
    ),
    Command(
        ("manifest add",),
        "manifests:add",
        "Add images, or files as an artifact, to an image list.",
        (
            flag("--all", help="Of a list among the images each entry."),
            ANNOTATION,
            *OF_ENTRY,
            flag("--artifact", help="Add the files that are named, as an artifact."),
            many("--artifact-annotation", help="Annotation of the artifact.", metavar="KEY=VALUE"),
            text("--artifact-config", help="File that is the artifact's configuration.", metavar="FILE"),
            text("--artifact-config-type", help="Media type of that configuration.", metavar="TYPE"),
            flag("--artifact-exclude-titles", help="Do not put down the names of the files."),
            text("--artifact-layer-type", help="Media type of the files.", metavar="TYPE"),
            text("--artifact-subject", help="Image that the artifact is about.", metavar="IMAGE"),
            text("--artifact-type", help="Type of the artifact.", metavar="TYPE"),
            *REGISTRY,
        ),
        Arguments("LIST IMAGE|FILE [IMAGE|FILE...]", 2, complete=images),
        examples=("rootless manifest add app:1 docker://registry.example.com/app:1-arm64",),
    ),
    Command(
        ("manifest annotate",),
        "manifests:annotate",
        "Change what an image list says of an image, or of itself.",
        (
            ANNOTATION,
            flag("--index", help="Of the list itself."),
            *OF_ENTRY,
            text("--subject", help="With --index, the image that the list is about.", metavar="IMAGE"),
            *REGISTRY,
        ),
        Arguments("LIST [IMAGE|DIGEST]", 1, 2, images),
        examples=("rootless manifest annotate --arch arm64 --variant v8 app:1 sha256:…",),
    ),
    Command(
        ("manifest inspect",),
        "manifests:inspect",
        "Show an image list that is here or at a registry.",
        (FORMAT, *CONNECTION),
        ONE_LIST,
    ),
    Command(
        ("manifest push",),
        "manifests:push",
        "Send an image list and its images to a registry, an archive or a directory.",
        (
            flag("--all", "-a", help="Its images too (on unless =false)."),
            *REGISTRY,
            *RETRY,
            *COMPRESSION,
            text("--digestfile", help="Write the digest of the list to this file.", metavar="FILE"),
            text("--format", "-f", help="Form of the list and its images: oci or v2s2.", metavar="FORMAT"),
            flag("--quiet", "-q", help="No progress on stderr."),
            flag("--remove-signatures", help="Push no signatures that the images came with; none are kept."),
            flag("--rm", help="Remove the list here when it was pushed."),
            *SIGNING,
        ),
        Arguments("LIST [DESTINATION]", 1, 2, images),
        examples=("rootless manifest push app:1 docker://registry.example.com/app:1",),
    ),
    Command(
        ("manifest exists",),
        "manifests:exists",
        "Exit with 0 if there is such an image list, else with 1.",
        (),
        ONE_LIST,
    ),
    Command(
        ("manifest remove",),
        "manifests:remove",
        "Take images out of an image list.",
        (),
        Arguments("LIST DIGEST|IMAGE [DIGEST|IMAGE...]", 2, complete=images),
    ),
    Command(
        ("manifest rm",),
        "manifests:rm",
        "Remove image lists; images that have names of their own stay.",
        (flag("--ignore", "-i", help="No error if there is none."),),
        Arguments("LIST [LIST...]", 1, complete=images),
    ),
)
