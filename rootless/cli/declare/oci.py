"""The command line of the OCI runtime, ``rootless-oci``: the verbs and flags of runc and crun that it has."""

from __future__ import annotations

from rootless.cli.declare.command import Command
from rootless.cli.declare.complete import oci_containers
from rootless.cli.declare.options import Arguments, flag, many, number, text

ONE = Arguments("ID", 1, 1, oci_containers)

PERSISTENT_OPTIONS = (
    text("--root", help="Directory of the containers' state.", metavar="DIR"),
    text("--log", help="File to which errors are appended.", metavar="FILE"),
    text("--log-format", help="Form of that file's lines: text or json.", metavar="FORMAT"),
    flag("--systemd-cgroup", help="Let systemd make the control group; cgroupsPath is then SLICE:PREFIX:NAME."),
    text("--cgroup-manager", help="Who makes the control group: systemd, cgroupfs or disabled.", metavar="NAME"),
    flag("--debug", help="Print what will be done to start a container, step by step."),
)

_BUNDLE = text("--bundle", "-b", help="Directory of the bundle; by default the current one.", metavar="DIR")

_CREATE = (
    _BUNDLE,
    text("--console-socket", help="Socket that gets the container's terminal.", metavar="SOCKET"),
    text("--pid-file", help="File for the pid of the container's first process.", metavar="FILE"),
    number("--preserve-fds", help="Pass the N descriptors from 3 on to the container."),
    flag("--no-pivot", help="Change the root by a move of mounts, where the host runs from an initial RAM disk."),
    flag("--no-new-keyring", help="Keep the caller's session keyring."),
)

COMMANDS = (
    Command(
        ("create",),
        "oci:create",
        "Create a container from a bundle; its program waits for start.",
        _CREATE,
        Arguments("ID", 1, 1),
        examples=("rootless-oci create --bundle /tmp/box box",),
    ),
    Command(
        ("start",),
        "oci:start",
        "Start the program of a container that was created.",
        (),
        ONE,
    ),
    Command(
        ("run",),
        "oci:run",
        "Create a container from a bundle, start it in the foreground, and delete it when it has ended.",
        (
            *_CREATE,
            flag("--detach", "-d", help="Leave the container running."),
            flag("--keep", help="Do not delete the container when it has ended."),
        ),
        Arguments("ID", 1, 1),
        examples=("rootless-oci run --bundle /tmp/box box",),
    ),
    Command(
        ("exec",),
        "oci_exec:run",
        "Run a further process in a running container.",
        (
            many("--additional-gids", "-g", help="Add a supplementary group.", metavar="GID"),
            text("--apparmor", help="AppArmor profile of the process.", metavar="NAME"),
            many("--cap", "-c", help="Add a capability.", metavar="CAPABILITY"),
            text("--cgroup", help="Put it into this control group below the container's.", metavar="PATH"),
            text("--console-socket", help="Socket that gets the process's terminal.", metavar="SOCKET"),
            text("--cwd", help="Working directory.", metavar="DIR"),
            flag("--detach", "-d", help="Leave the process running."),
            many("--env", "-e", help="Set a variable.", metavar="NAME=VALUE"),
            flag("--ignore-paused", help="Do so in a paused container too; the process waits for it to be resumed."),
            flag("--no-new-privs", help="Let no program give the process more power."),
            text("--pid-file", help="File for the pid of the process.", metavar="FILE"),
            number("--preserve-fds", help="Pass the N descriptors from 3 on to the process."),
            text("--process", "-p", help="File with the process as config.json has it.", metavar="FILE"),
            text("--process-label", help="SELinux label of the process.", metavar="LABEL"),
            flag("--tty", "-t", help="Give it a terminal."),
            text("--user", "-u", help="Its user and group, as numbers.", metavar="UID[:GID]"),
        ),
        Arguments("ID [COMMAND [ARG...]]", 1, None, oci_containers),
        interspersed=False,
        examples=("rootless-oci exec -t box sh",),
    ),
    Command(
        ("spec",),
        "oci:spec",
        "Write a config.json that runs a shell in the bundle's rootfs.",
        (
            _BUNDLE,
            flag("--rootless", help="For an ordinary user, with a user namespace; the default unless called by root."),
        ),
    ),
    Command(
        ("state",),
        "oci:state",
        "Print the state of a container as JSON.",
        (),
        ONE,
    ),
    Command(
        ("list",),
        "oci:list_all",
        "List the containers.",
        (
            text("--format", "-f", help="Form of the output: table or json.", metavar="FORMAT"),
            flag("--quiet", "-q", help="Only the IDs."),
        ),
    ),
    Command(
        ("kill",),
        "oci:kill",
        "Send a signal, by default TERM, to the first process of a container.",
        (flag("--all", "-a", help="Send it to every process of the container."),),
        Arguments("ID [SIGNAL]", 1, 2, oci_containers),
        examples=("rootless-oci kill box KILL",),
    ),
    Command(
        ("delete",),
        "oci:delete",
        "Delete what is kept of a container that has ended.",
        (flag("--force", "-f", help="Kill the container first if it runs; no error if there is none."),),
        ONE,
    ),
    Command(
        ("ps",),
        "oci_cgroup:ps",
        "List the processes of a container, as ps(1) does on the host.",
        (text("--format", "-f", help="Form of the output: table or json, a list of pids.", metavar="FORMAT"),),
        Arguments("ID [PS-OPTION...]", 1, -1, oci_containers),
        interspersed=False,
    ),
    Command(
        ("pause",),
        "oci_cgroup:pause",
        "Halt every process of a container.",
        (),
        ONE,
    ),
    Command(
        ("resume",),
        "oci_cgroup:resume",
        "Let a container go on that was paused.",
        (),
        ONE,
    ),
    Command(
        ("update",),
        "oci_cgroup:update",
        "Change the limits of a running container.",
        (
            text("--resources", "-r", help="File with linux.resources as JSON; - is standard input.", metavar="FILE"),
            text("--memory", help="Limit of memory.", metavar="BYTES"),
            text("--memory-reservation", help="Memory that is kept for the container.", metavar="BYTES"),
            text("--memory-swap", help="Limit of memory and swap together.", metavar="BYTES"),
            text("--cpu-period", help="Period of the processor's quota.", metavar="MICROSECONDS"),
            text("--cpu-quota", help="Processor time in a period.", metavar="MICROSECONDS"),
            text("--cpu-share", help="Weight among the containers.", metavar="SHARES"),
            text("--cpuset-cpus", help="Processors that may be used.", metavar="LIST"),
            text("--cpuset-mems", help="Memory nodes that may be used.", metavar="LIST"),
            text("--pids-limit", help="Most processes.", metavar="NUMBER"),
            text("--blkio-weight", help="Weight of input and output.", metavar="WEIGHT"),
        ),
        ONE,
    ),
    Command(
        ("events",),
        "oci_cgroup:events",
        "Print what a container uses as lines of JSON.",
        (
            text("--interval", help="Time between two lines (5s).", metavar="DURATION"),
            flag("--stats", help="Print one line and end."),
        ),
        ONE,
    ),
    Command(
        ("features",),
        "oci:features",
        "Print what the runtime can do as JSON.",
    ),
)
