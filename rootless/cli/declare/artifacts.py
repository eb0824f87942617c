"""Commands on artifacts: files that registries keep beside images."""

from __future__ import annotations

from rootless.cli.declare.command import Command
from rootless.cli.declare.containers import FORMAT, ROW_FORMAT
from rootless.cli.declare.options import Arguments, flag, many, text
from rootless.cli.declare.pulling import REGISTRY, RETRY
from rootless.cli.declare.trust import SIGNING

QUIET = flag("--quiet", "-q", help="No progress on stderr.")

COMMANDS = (
    Command(
        ("artifact add",),
        "artifacts:add",
        "Make an artifact of files, or add files to one.",
        (
            many("--annotation", help="Annotation of the files.", metavar="KEY=VALUE"),
            flag("--append", "-a", help="Add the files to an artifact that is there."),
            text("--file-type", help="Media type of the files (told from their beginning).", metavar="TYPE"),
            flag("--replace", help="Put it in the place of an artifact of that name."),
            text("--type", help="Type of the artifact.", metavar="TYPE"),
        ),
        Arguments("NAME FILE [FILE...]", 2),
        examples=("rootless artifact add registry.example.com/team/model:1 model.bin README.md",),
    ),
    Command(
        ("artifact extract",),
        "artifacts:extract",
        "Write the files of an artifact to a directory, or one to a file.",
        (
            text("--digest", help="Only the file with this digest.", metavar="DIGEST"),
            text("--title", help="Only the file of this name.", metavar="NAME"),
        ),
        Arguments("ARTIFACT PATH", 2, 2),
        examples=("rootless artifact extract registry.example.com/team/model:1 .",),
    ),
    Command(
        ("artifact inspect",),
        "artifacts:inspect",
        "Show all that is known of an artifact.",
        (FORMAT,),
        Arguments("ARTIFACT", 1, 1),
    ),
    Command(
        ("artifact ls",),
        "artifacts:ls",
        "List artifacts.",
        (
            ROW_FORMAT,
            flag("--noheading", "-n", help="No heading."),
            flag("--no-trunc", help="Full digests."),
            flag("--quiet", "-q", help="Only the digests."),
        ),
        hidden_paths=("artifact list",),
    ),
    Command(
        ("artifact pull",),
        "artifacts:pull",
        "Fetch an artifact from a registry.",
        (*REGISTRY, *RETRY, QUIET),
        Arguments("ARTIFACT", 1, 1),
    ),
    Command(
        ("artifact push",),
        "artifacts:push",
        "Send an artifact to a registry.",
        (
            *REGISTRY,
            text("--digestfile", help="Write the digest of what was pushed to this file.", metavar="FILE"),
            *RETRY,
            QUIET,
            *SIGNING,
        ),
        Arguments("ARTIFACT [DESTINATION]", 1, 2),
    ),
    Command(
        ("artifact rm",),
        "artifacts:rm",
        "Remove artifacts.",
        (
            flag("--all", "-a", help="All artifacts."),
            flag("--ignore", "-i", help="No error if there is none."),
        ),
        Arguments("ARTIFACT [ARTIFACT...]"),
        hidden_paths=("artifact remove",),
    ),
)
