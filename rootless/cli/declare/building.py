"""`build`: the options of the build itself, of its result, and of the containers in which its commands run."""

from __future__ import annotations

from rootless.cli.declare.command import Command
from rootless.cli.declare.containers import FORCE_PRUNE
from rootless.cli.declare.options import Arguments, chosen, commas, flag, many, number, panel, perhaps, text
from rootless.cli.declare.pulling import OS_AND_ARCH, REGISTRY, RETRY
from rootless.cli.declare.run import CREATE_OPTIONS

INPUT = panel(
    "What is built",
    commas("--file", "-f", help="Containerfile; - is standard input. Several are read as one.", metavar="FILE"),
    many("--build-arg", help="Value of an ARG; without =VALUE that of the environment.", metavar="NAME[=VALUE]"),
    many("--build-arg-file", help="File with one NAME=VALUE a line.", metavar="FILE"),
    many("--build-context", help="Another context: DIR, URL or docker-image://IMAGE.", metavar="NAME=CONTEXT"),
    text("--target", help="Stop at this stage.", metavar="STAGE"),
    commas("--platform", help="Platform of the image; several make an image list.", metavar="OS/ARCH[/VARIANT]"),
    *OS_AND_ARCH,
    text("--os-version", help="Version of the operating system that the image needs.", metavar="VERSION"),
    many("--os-feature", help="Feature of the operating system that the image needs.", metavar="FEATURE"),
    text("--from", help="Take this image instead of that of the first FROM.", metavar="IMAGE"),
    text("--ignorefile", help="File of what is no part of the context, instead of .containerignore.", metavar="FILE"),
    flag("--skip-unused-stages", help="Build only stages that the target needs (on unless =false)."),
    number("--jobs", help="Stages that are built at a time (as many as processors); 0: all.", metavar="N"),
    perhaps("--pull", help="When to pull images: always, missing, never or newer (missing).", metavar="POLICY"),
    *REGISTRY,
    *RETRY,
)

RESULT = panel(
    "What comes of it",
    many("--tag", "-t", help="Name of the image.", metavar="NAME[:TAG]"),
    text("--format", help="Format of the image: oci (the default) or docker.", metavar="oci|docker"),
    text("--manifest", help="Add the image to this image list, which is made if there is none.", metavar="NAME"),
    many("--annotation", help="Annotation of the image's manifest.", metavar="KEY=VALUE"),
    flag("--inherit-annotations", help="Keep the annotations of the base image (on unless =false)."),
    many("--unsetannotation", help="Leave out this annotation.", metavar="KEY"),
    many("--label", help="Label of the image.", metavar="KEY[=VALUE]"),
    many("--unsetlabel", help="Leave out this label of the base image.", metavar="KEY"),
    flag("--identity-label", help="A label with the program's version; only =false, as is always done."),
    flag("--inherit-labels", help="Keep the labels of the base image (on unless =false)."),
    many("--env", help="Environment variable of the image.", metavar="NAME[=VALUE]"),
    many("--unsetenv", help="Leave out this variable of the base image.", metavar="NAME"),
    many("--output", "-o", help="Write the result: type=local|tar|oci|docker|image,dest=PATH; or a PATH.",
         metavar="SPEC"),
    flag("--load", help="Keep the image in the store (as is done without --output too)."),
    flag("--push", help="Push the image to the registries of its names."),
    perhaps("--provenance", help="Attestation of how it was built: only false.", metavar="false"),
    perhaps("--sbom", help="Attestation of what is in it: only false.", metavar="false"),
    text("--iidfile", help="Write the image's ID to this file.", metavar="FILE"),
    text("--metadata-file", help="Write what was built to this file, as JSON.", metavar="FILE"),
    flag("--squash", help="One layer for all that is built over the base image."),
    flag("--squash-all", help="One layer of everything."),
    flag("--omit-history", help="No history in the image's configuration."),
    number("--timestamp", help="Time of the image and of every file in its new layers.", metavar="SECONDS"),
    number("--source-date-epoch", help="Time of the image (environment: SOURCE_DATE_EPOCH).", metavar="SECONDS"),
    flag("--rewrite-timestamp", help="No file in a new layer is newer than --source-date-epoch."),
)  # fmt: skip

CACHE = panel(
    "Cache",
    flag("--no-cache", help="Do every step again."),
    flag("--layers", help="A layer for each step, kept for later builds (on unless =false)."),
    commas("--cache-from", help="Also look for steps in this repository.", metavar="REPOSITORY"),
    commas("--cache-to", help="Also keep steps in this repository.", metavar="REPOSITORY"),
    text("--cache-ttl", help="Do not use what was kept longer ago.", metavar="DURATION"),
    flag("--rm", help="Remove the containers of finished steps (always done)."),
    flag("--force-rm", help="Remove the containers of failed steps too (always done)."),
)

STEPS = panel(
    "Where commands run",
    *chosen(
        CREATE_OPTIONS,
        "--network", "--dns", "--dns-option", "--dns-search", "--add-host", "--no-hosts", "--http-proxy",
        "--memory", "--memory-swap", "--cpus", "--cpu-shares", "--cpu-quota", "--cpu-period",
        "--cpuset-cpus", "--cpuset-mems", "--cgroup-conf", "--cgroup-parent", "--ulimit", "--shm-size", "--device",
        "--cap-add", "--cap-drop", "--group-add", "--userns", "--pid", "--uts", "--cgroupns",
    ),
    text("--ipc", help="IPC namespace: private or host.", metavar="MODE"),
    flag("--no-hostname", help="Leave /etc/hostname as the image has it."),
    text("--isolation", help="How commands are isolated: oci or rootless (as run does), or chroot.", metavar="KIND"),
    many("--security-opt", help="no-new-privileges, seccomp=FILE|unconfined, apparmor=, label=, mask=, unmask=",
         metavar="OPTION"),
    commas("--allow", help="Allow RUN --security=insecure: security.insecure.", metavar="ENTITLEMENT"),
    many("--volume", "-v", help="Mount a host path into every command's container.", metavar="SOURCE:TARGET[:OPTIONS]"),
    many("--secret", help="A secret for RUN --mount=type=secret.", metavar="id=ID[,src=FILE|,env=NAME]"),
    many("--ssh", help="An agent's socket, or keys, for RUN --mount=type=ssh.", metavar="default|ID[=SOCKET|KEY]"),
)  # fmt: skip

TALK = panel(
    "What is shown",
    flag("--quiet", "-q", help="Only the image's ID, when it is done."),
    text("--progress", help="How progress is shown: auto, plain or tty.", metavar="KIND"),
    text("--logfile", help="Write output to this file instead of standard output.", metavar="FILE"),
)

COMMANDS = (
    Command(
        ("build", "image build", "buildx build", "builder build"),
        "building:build",
        "Build an image from a Containerfile.",
        (*INPUT, *RESULT, *CACHE, *STEPS, *TALK),
        Arguments("[CONTEXT]", 0, 1),
        panel="Images",
        examples=(
            "rootless build -t web .",
            "rootless build --target test --build-arg VERSION=3 -f Containerfile.ci https://example.com/web.git#main",
        ),
    ),
    Command(
        ("builder prune", "buildx prune"),
        "building:prune",
        "Forget the steps of builds, and what RUN --mount=type=cache has kept.",
        (
            flag("--all", "-a", help="Also the steps that an image is made of."),
            FORCE_PRUNE,
        ),
    ),
)
