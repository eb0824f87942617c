"""The options of the program itself, which stand before the name of the command."""

from __future__ import annotations

from rootless.cli.declare.options import flag, many, panel, text

# Understood after the name of a command too (distrobox writes `create --runtime=…`).
PERSISTENT_OPTIONS = (
    *panel(
        "Where things are",
        text("--root", help="Directory of images, containers and volumes.", metavar="DIR"),
        text("--runroot", help="Directory of state that ends with the boot.", metavar="DIR"),
        text("--storage-driver", help="How root file systems are made: overlay, fuse-overlayfs, copy.", metavar="NAME"),
    ),
    *panel(
        "Control groups",
        text("--cgroup-manager", help="Who makes control groups: systemd, cgroupfs or disabled.", metavar="NAME"),
    ),
    *panel(
        "Diagnosis",
        text("--log-level", help="Least level of messages: debug, info, warn, error, fatal or panic.", metavar="LEVEL"),
        flag("--debug", help="Print what will be done to start a container, step by step."),
    ),
    *panel(
        "Choices of implementation, accepted for scripts: this program has one of each",
        text("--runtime", help="The OCI runtime; containers are started by this program itself.", metavar="NAME"),
        many("--runtime-flag", help="Flag for the OCI runtime.", metavar="FLAG"),
        many("--storage-opt", help="Option of the storage driver.", metavar="KEY=VALUE"),
        text("--events-backend", help="Where events are kept.", metavar="NAME"),
        text("--tmpdir", help="Directory of the engine's temporary state.", metavar="DIR"),
    ),
)

ROOT_OPTIONS = (flag("--version", "-v", help="Print the version and exit."),)
