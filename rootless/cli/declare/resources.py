"""The flags that limit what a container may use, and the commands that show, change and suspend it."""

from __future__ import annotations

from rootless.cli.declare.command import Command
from rootless.cli.declare.complete import container_first, containers
from rootless.cli.declare.health import HEALTH
from rootless.cli.declare.life import CIDFILE, FILTER, LATEST
from rootless.cli.declare.options import Arguments, commas, flag, many, number, panel, text

LIMITS = panel(
    "Limits",
    text("--memory", "-m", help="Memory.", metavar="SIZE"),
    text("--memory-swap", help="Memory and swap together; -1: no limit (twice --memory).", metavar="SIZE"),
    text("--memory-reservation", help="Memory that is taken from it last.", metavar="SIZE"),
    number("--memory-swappiness", help="Refused: control groups of version 2 have none."),
    text("--cpus", help="Number of CPUs, such as 1.5.", metavar="NUMBER"),
    number("--cpu-shares", "-c", help="Share of busy CPUs, 2 to 262144 (1024)."),
    number("--cpu-quota", help="CPU time in each period.", metavar="MICROSECONDS"),
    number("--cpu-period", help="Length of a period (100000).", metavar="MICROSECONDS"),
    number("--cpu-rt-period", help="Refused: control groups of version 2 have none.", metavar="MICROSECONDS"),
    number("--cpu-rt-runtime", help="Refused: control groups of version 2 have none.", metavar="MICROSECONDS"),
    text("--cpuset-cpus", help="CPUs to run on: 0-3 or 0,2.", metavar="LIST"),
    text("--cpuset-mems", help="Memory nodes to use: 0-3 or 0,2.", metavar="LIST"),
    number("--pids-limit", help="Number of processes and threads (2048); -1: no limit."),
    number("--blkio-weight", help="Share of busy disks, 10 to 1000."),
    many("--blkio-weight-device", help="Share of one disk.", metavar="DEVICE:WEIGHT"),
    commas("--device-read-bps", help="Bytes read from a disk in a second.", metavar="DEVICE:SIZE"),
    commas("--device-write-bps", help="Bytes written to a disk in a second.", metavar="DEVICE:SIZE"),
    commas("--device-read-iops", help="Reads from a disk in a second.", metavar="DEVICE:NUMBER"),
    commas("--device-write-iops", help="Writes to a disk in a second.", metavar="DEVICE:NUMBER"),
)

CONF = many("--cgroup-conf", help="Any other limit of version 2 of control groups.", metavar="FILE=VALUE")

CGROUPS = panel(
    "Limits",
    flag("--oom-kill-disable", help="Refused: control groups of version 2 have none."),
    number("--oom-score-adj", help="Who is killed first when memory is short, -1000 to 1000."),
    CONF,
    text("--cgroup-parent", help="Slice, or control group, to make the container's in.", metavar="PATH"),
    text("--cgroups", help="Control group: enabled, disabled, no-conmon or split.", metavar="MODE"),
)

SEVERAL = Arguments("CONTAINER [CONTAINER...]", complete=containers)
CHOICE = (
    flag("--all", "-a", help="All containers."),
    FILTER,
    LATEST,
    CIDFILE,
)

COMMANDS = (
    Command(
        ("pause", "container pause"),
        "resources:pause",
        "Suspend all processes of containers.",
        CHOICE,
        SEVERAL,
        panel="Containers",
    ),
    Command(
        ("unpause", "container unpause"),
        "resources:unpause",
        "Let suspended containers go on.",
        CHOICE,
        SEVERAL,
        panel="Containers",
    ),
    Command(
        ("update", "container update"),
        "resources:update",
        "Change the limits or the health check of a container, at once if it runs.",
        (*LIMITS, CONF, *HEALTH, LATEST),
        Arguments("CONTAINER", 0, 1, containers),
        panel="Containers",
        examples=("rootless update --memory 1g --cpus 2 web",),
    ),
    Command(
        ("top", "container top"),
        "top:top",
        "Show the processes of a running container.",
        (flag("--latest", "-l", help="Those of the container that was created last."),),
        Arguments("CONTAINER [COLUMN...|PS-OPTION...]", complete=container_first),
        interspersed=False,
        panel="Containers",
        examples=("rootless top web", "rootless top web pid,hpid,huser,args", "rootless top web -o pid,args"),
    ),
    Command(
        ("stats", "container stats"),
        "resources:stats",
        "Show what running containers use, again and again.",
        (
            flag("--all", "-a", help="Also containers that do not run."),
            text("--format", help="Output as json, or a line for each by a Go template.", metavar="TEMPLATE"),
            number("--interval", "-i", help="Seconds between two looks (5).", metavar="SECONDS"),
            LATEST,
            flag("--no-reset", help="Do not clear the screen between two looks."),
            flag("--no-stream", help="Look once."),
            flag("--no-trunc", help="Full IDs."),
        ),
        Arguments("[CONTAINER...]", complete=containers),
        panel="Containers",
        examples=("rootless stats --no-stream", "rootless stats --format '{{.Name}} {{.MemUsage}}' web"),
    ),
)
