"""`run` and `create`: their options are one list."""

from __future__ import annotations

from rootless.cli.declare.command import Command
from rootless.cli.declare.complete import image_first, volumes
from rootless.cli.declare.health import HEALTH
from rootless.cli.declare.life import DETACH_KEYS, SIG_PROXY
from rootless.cli.declare.options import Arguments, Option, commas, flag, many, number, panel, text
from rootless.cli.declare.pulling import PLATFORM, REGISTRY
from rootless.cli.declare.resources import CGROUPS, LIMITS

IMAGE_COMMAND = Arguments("IMAGE [COMMAND [ARG...]]", least=1, complete=image_first)

GENERAL = panel(
    "General",
    text("--name", help="Name of the container.", metavar="NAME"),
    flag("--replace", help="Remove an existing container of the same name first."),
    text("--restart", help="When to start it again: no, on-failure[:N], always, unless-stopped.", metavar="POLICY"),
    flag("--rm", help="Remove the container and its anonymous volumes when it ends."),
    many("--label", "-l", help="Metadata of the container.", metavar="KEY[=VALUE]"),
    commas("--label-file", help="File with one label a line.", metavar="FILE"),
    many("--annotation", help="Annotation in the runtime's configuration.", metavar="KEY=VALUE"),
    text("--cidfile", help="Write the container's ID to this new file.", metavar="FILE"),
    text("--conmon-pidfile", help="Write the process ID of the container's monitor to this file.", metavar="FILE"),
    text("--sdnotify", help="Who tells systemd of readiness: container, conmon, healthy or ignore.", metavar="MODE"),
    text("--pidfile", help="Write the process ID of the container to this file.", metavar="FILE"),
    text("--pull", help="When to pull the image: missing, always, never or newer.", metavar="POLICY"),
    *PLATFORM,
    *REGISTRY,
    flag("--quiet", "-q", help="No progress of a pull on stderr."),
)

PROCESS = panel(
    "Process",
    flag("--interactive", "-i", help="Keep standard input open."),
    flag("--tty", "-t", help="Give the container a terminal."),
    commas("--attach", "-a", help="Connect only these streams: stdin, stdout, stderr.", metavar="STREAM"),
    text("--entrypoint", help="Replaces the image's entrypoint; plain or a JSON list.", metavar="COMMAND"),
    text("--workdir", "-w", help="Working directory in the container.", metavar="DIR"),
    many("--env", "-e", help="Environment variable; without a value the caller's is taken.", metavar="NAME[=VALUE]"),
    many("--env-file", help="File with one environment variable a line.", metavar="FILE"),
    flag("--env-host", help="Hand on the caller's whole environment."),
    many("--env-merge", help="Variable made from others of the image: PATH=${PATH}:/more.", metavar="NAME=VALUE"),
    many("--unsetenv", help="Leave out this variable of the image.", metavar="NAME"),
    flag("--unsetenv-all", help="Leave out all variables of the image."),
    flag("--http-proxy", help="Hand on the caller's proxy variables (on unless =false)."),
    text("--umask", help="File creation mask, octal (0022).", metavar="MASK"),
    text("--tz", help="Time zone in the container, or 'local'.", metavar="ZONE"),
    flag("--init", help="Run a small init as process 1, which reaps and forwards signals."),
    text("--stop-signal", help="Signal that asks the container to end (SIGTERM).", metavar="SIGNAL"),
    number("--stop-timeout", help="Seconds between that signal and SIGKILL (10).", metavar="SECONDS"),
    number("--timeout", help="Kill the container after so many seconds.", metavar="SECONDS"),
    number("--preserve-fds", help="Hand on so many file descriptors after stderr.", metavar="N"),
    text("--log-driver", help="Where output goes: k8s-file, json-file, journald, passthrough, none.", metavar="DRIVER"),
    commas("--log-opt", help="Option of the log: path=FILE, max-size=SIZE (in all) or tag=TEXT.", metavar="KEY=VALUE"),
)

RUN_ONLY = panel(
    "Process",
    SIG_PROXY,
    flag("--detach", "-d", help="Print the container's ID and leave it running."),
    DETACH_KEYS,
)

IDENTITY = panel(
    "Users and namespaces",
    text("--user", "-u", help="User, and group, of the process.", metavar="USER[:GROUP]"),
    commas("--group-add", help="Further group of the process; keep-groups keeps the caller's.", metavar="GROUP"),
    text("--userns", help="User namespace: host, keep-id[:uid=,gid=,size=], nomap or auto.", metavar="MODE"),
    commas("--uidmap", help="Map user IDs.", metavar="CONTAINER:HOST[:LENGTH]"),
    commas("--gidmap", help="Map group IDs.", metavar="CONTAINER:HOST[:LENGTH]"),
    flag("--passwd", help="Add the user to /etc/passwd (on unless =false)."),
    text("--pid", help="Process namespace: private or host.", metavar="MODE"),
    text("--ipc", help="IPC namespace: private, shareable, none or host.", metavar="MODE"),
    text("--uts", help="Host name namespace: private or host.", metavar="MODE"),
    text("--cgroupns", help="Control group namespace: private or host.", metavar="MODE"),
)

FILES = panel(
    "Files",
    many("--volume", "-v", help="Mount a volume or host path.", metavar="[SOURCE:]TARGET[:OPTIONS]", complete=volumes),
    many("--mount", help="Mount by key: type=bind|tmpfs|volume|image,source=…,target=…", metavar="SPEC"),
    many("--volumes-from", help="Mount the volumes of another container.", metavar="CONTAINER[:OPTIONS]"),
    many("--tmpfs", help="Mount a file system in memory.", metavar="TARGET[:OPTIONS]"),
    text("--image-volume", help="What becomes of the image's volumes: anonymous, tmpfs or ignore.", metavar="MODE"),
    flag("--read-only", help="Make the root file system read-only."),
    flag("--read-only-tmpfs", help="With --read-only, writable /dev, /run, /tmp in memory (on unless =false)."),
    flag("--rootfs", help="The first argument is a directory, not an image; DIR:O puts a throw-away layer over it."),
    commas("--device", help="Add a device of the host.", metavar="HOST[:CONTAINER[:rwm]]"),
    text("--shm-size", help="Size of /dev/shm (64m).", metavar="SIZE"),
)

NETWORK = panel(
    "Network",
    many("--network", "--net", help="pasta, slirp4netns, none or host, with options after a colon.", metavar="MODE"),
    commas("--publish", "-p", help="Publish a port.", metavar="[[IP:]HOST:]CONTAINER[/PROTOCOL]"),
    flag("--publish-all", "-P", help="Publish every port that the image exposes."),
    commas("--expose", help="Port that --publish-all publishes too.", metavar="PORT[/PROTOCOL]"),
    text("--hostname", "-h", help="Host name in the container.", metavar="NAME"),
    commas("--add-host", help="Line for /etc/hosts.", metavar="NAME:IP"),
    flag("--no-hosts", help="Leave /etc/hosts as the image has it."),
    commas("--dns", help="DNS server, or none.", metavar="IP"),
    commas("--dns-option", "--dns-opt", help="Option for resolv.conf.", metavar="OPTION"),
    commas("--dns-search", help="Search domain for resolv.conf.", metavar="DOMAIN"),
)

CONFINEMENT = panel(
    "Confinement",
    commas("--cap-add", help="Add a capability, or all.", metavar="CAPABILITY"),
    commas("--cap-drop", help="Drop a capability, or all.", metavar="CAPABILITY"),
    flag("--privileged", help="All capabilities and devices of the user, nothing masked, no seccomp."),
    flag("--hardened", help="The stricter defaults: fewer capabilities, system calls and mounts."),
    flag("--strict", help="Refuse to start where the machine gives the container less than the program could."),
    commas("--require", help="Refuse to start without this: ids.range, cgroup.memory, seccomp, …", metavar="NAME"),
    flag("--nested", help="Let a container engine run inside: namespaces, mounts, an unmasked /proc, fuse and tun."),
    many(
        "--security-opt",
        help="no-new-privileges, seccomp=FILE|unconfined, apparmor=, label=, mask=, unmask=, proc-opts=",
        metavar="OPTION",
    ),
    commas("--ulimit", help="Resource limit, or host.", metavar="NAME=SOFT[:HARD]"),
    commas("--sysctl", help="Kernel parameter of the container's namespaces.", metavar="NAME=VALUE"),
)

CREATE_OPTIONS: tuple[Option, ...] = (
    *GENERAL, *PROCESS, *IDENTITY, *FILES, *NETWORK, *CONFINEMENT, *LIMITS, *CGROUPS, *HEALTH,
)  # fmt: skip

COMMANDS = (
    Command(
        ("run", "container run"),
        "run:run",
        "Run a command in a new container.",
        (*CREATE_OPTIONS, *RUN_ONLY),
        IMAGE_COMMAND,
        interspersed=False,
        panel="Containers",
        examples=(
            "rootless run --rm -it alpine sh",
            "rootless run --rm -p 8080:80 -v ./site:/usr/share/nginx/html nginx",
        ),
    ),
    Command(
        ("create", "container create"),
        "run:create",
        "Create a container without starting it.",
        CREATE_OPTIONS,
        IMAGE_COMMAND,
        interspersed=False,
        panel="Containers",
        examples=("rootless create --name web nginx",),
    ),
)
