"""Commands about the program and the store."""

from __future__ import annotations

from rootless.cli.declare.command import Command
from rootless.cli.declare.complete import shells
from rootless.cli.declare.containers import FORCE_PRUNE, FORMAT, PRUNE_FILTER
from rootless.cli.declare.options import Arguments, flag, text
from rootless.cli.declare.pulling import REGISTRY

COMMANDS = (
    Command(
        ("info", "system info"),
        "system:info",
        "Show what this machine offers and what was chosen.",
        (FORMAT,),
        panel="System",
    ),
    Command(
        ("version",),
        "system:version",
        "Show the version.",
        (FORMAT,),
        panel="System",
    ),
    Command(
        ("unshare",),
        "unshare:unshare",
        "Run a command in the user namespace of the containers, as their root.",
        (),
        Arguments("[COMMAND [ARG...]]"),
        interspersed=False,
        panel="System",
        examples=("rootless unshare ls -ln ~/.local/share/rootless",),
    ),
    Command(
        ("completion",),
        "completion:completion",
        "Print the script that makes a shell complete command lines.",
        (),
        Arguments("bash|zsh|fish", 1, 1, shells),
        panel="System",
        examples=("source <(rootless completion bash)",),
    ),
    Command(
        ("system check",),
        "system:check",
        "Verify images, layers and records in the store.",
        (
            flag("--repair", "-r", help="Mend what can be mended without loss of data; what is lost of an image is "
                                        "fetched again by its digest."),
            flag("--force", "-f", help="Repair, and remove containers that cannot be read."),
            flag("--quick", "-q", help="Leave out what takes long: the bytes of blobs, the files of layers."),
            text("--max", "-m", help="Age from which a layer that nothing needs is told (24h).", metavar="DURATION"),
            *REGISTRY,
        ),
    ),
    Command(
        ("system prune",),
        "system:prune",
        "Remove what is not used: ended containers, unnamed images, half-done work.",
        (
            flag("--all", "-a", help="Also images that no container uses, and what RUN --mount=type=cache has kept."),
            FORCE_PRUNE,
            PRUNE_FILTER,
            flag("--volumes", help="Also volumes that no container uses."),
        ),
    ),
    Command(
        ("system dedup",),
        "system:dedup",
        "Let equal files of different layers take their space once, by reflinks.",
        (
            flag("--hard-links", help="Use hard links where the file system has no reflinks. A container can see that "
                                      "such a file has several names; one that is running keeps its own files."),
        ),
        examples=("rootless system dedup --hard-links",),
    ),
    Command(
        ("system df",),
        "system:df",
        "Show how much space is used.",
        (
            text("--format", help="Output as json, or a line for each by a Go template.", metavar="TEMPLATE"),
            flag("--verbose", "-v", help="Each image, container and volume."),
        ),
    ),
)
