"""What the child executes: a flat, printable description, made by ``rootless.runtime.plan`` without privilege."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.idmaps import IdMap
    from rootless.init.hooks import Hook
    from rootless.init.ops import Operation
    from rootless.init.process import Attributes
    from rootless.init.wire import Channel
    from storage.drivers.base import RootfsMount


class Capabilities:
    """Five sets of capabilities(7), each a number with bit N for capability N."""

    __slots__ = ("ambient", "bounding", "effective", "inheritable", "permitted")

    def __init__(
        self, bounding: int = 0, effective: int = 0, permitted: int = 0, inheritable: int = 0, ambient: int = 0
    ) -> None:
        self.bounding = bounding
        self.effective = effective
        self.permitted = permitted
        self.inheritable = inheritable
        self.ambient = ambient

    def __repr__(self) -> str:
        return (
            f"bounding={self.bounding:#x} permitted={self.permitted:#x} effective={self.effective:#x}"
            f" inheritable={self.inheritable:#x} ambient={self.ambient:#x}"
        )


class Limit:
    """A resource limit of setrlimit(2). ``explicit``: asked for by the user, so refused where it cannot be set."""

    __slots__ = ("explicit", "hard", "name", "number", "soft")

    def __init__(self, name: str, number: int, soft: int, hard: int, explicit: bool) -> None:
        self.name = name
        self.number = number
        self.soft = soft
        self.hard = hard
        self.explicit = explicit


class User:
    """Who the process is to be: ``text`` (``name[:group]``), resolved inside the root, or without it the numbers.

    ``account``: the name, user and group id of somebody whom the container is to know besides those of its own files.
    """

    __slots__ = ("account", "extra_groups", "gid", "groups", "keep_groups", "text", "uid", "umask")

    def __init__(
        self,
        text: str | None,
        uid: int,
        gid: int,
        groups: list[int],
        extra_groups: list[str],
        keep_groups: bool,
        umask: int | None,
        account: tuple[str, int, int] | None = None,
    ) -> None:
        self.account = account
        self.text = text
        self.uid = uid
        self.gid = gid
        self.groups = groups
        self.extra_groups = extra_groups
        self.keep_groups = keep_groups
        self.umask = umask


class Listener:
    """Who decides about the system calls that the filter leaves to another program (seccomp_unotify(2)).

    ``path`` is of its socket, ``metadata`` a text for it.
    """

    __slots__ = ("metadata", "path")

    def __init__(self, path: str, metadata: str) -> None:
        self.path = path
        self.metadata = metadata


class Keeper:
    """What remembers the owners that a container with a single id gives to files (`rootless.init.keeper`).

    ``directory``: of the container, for what no attribute can be set of. ``gate``: the listening socket of processes
    that join it. ``channel``: the way of this process to the keeper, None where there is none.
    """

    __slots__ = ("channel", "directory", "gate")

    def __init__(self, directory: str = "", gate: int = -1, channel: Channel | None = None) -> None:
        self.directory = directory
        self.gate = gate
        self.channel = channel


class Plan:
    """A container's start, ready to be executed. :meth:`describe` prints it, one line a step.

    Found at the launch are ``foreign``: the caller's id is not in the map; and ``airlock``: the container may change
    the file of this interpreter.
    """

    __slots__ = (
        "airlock", "apparmor", "arguments", "attributes", "capabilities", "cleanup", "console_size", "copy_up", "cwd",
        "domainname", "environment", "files_dir", "foreign", "fuse_overlayfs", "hooks", "hostname", "idmap",
        "idmapped", "joined", "keep_keyring", "keeper", "limits", "listener", "make_cwd", "masked",
        "memory_policy", "namespaces", "net_devices", "no_new_privileges", "no_pivot", "oom_score_adj", "operations",
        "passwd_entry", "persona", "preserve_fds", "read_only_paths", "reaper", "root_propagation", "root_read_only",
        "rootfs", "seccomp", "selinux", "sysctls", "terminal", "time_offsets", "user", "wait_attached",
        "warnings",
    )  # fmt: skip

    def __init__(
        self,
        *,
        rootfs: RootfsMount,
        idmap: IdMap,
        namespaces: int,
        joined: list[tuple[int, str]],
        operations: list[Operation],
        masked: list[str],
        read_only_paths: list[str],
        root_read_only: bool,
        root_propagation: tuple[int, bool],
        hostname: str,
        domainname: str,
        sysctls: list[tuple[str, str]],
        arguments: list[str],
        environment: dict[str, str],
        cwd: str,
        make_cwd: bool,
        user: User,
        passwd_entry: bool,
        files_dir: str,
        copy_up: list[tuple[str, str]],
        capabilities: Capabilities,
        no_new_privileges: bool,
        seccomp: bytes | None,
        apparmor: str,
        selinux: str,
        limits: list[Limit],
        oom_score_adj: int | None,
        persona: int | None,
        terminal: bool,
        console_size: tuple[int, int],
        reaper: bool,
        preserve_fds: int,
        no_pivot: bool,
        keep_keyring: bool,
        cleanup: list[str],
        fuse_overlayfs: str,
        hooks: dict[str, list[Hook]],
        attributes: Attributes | None = None,
        memory_policy: tuple[int, bytes] | None = None,
        time_offsets: bytes = b"",
        listener: Listener | None = None,
        net_devices: list[tuple[str, str]] | None = None,
        idmapped: bool = False,
        warnings: list[str] | None = None,
    ) -> None:
        self.rootfs = rootfs
        self.idmap = idmap
        self.namespaces = namespaces
        self.joined = joined
        self.operations = operations
        self.masked = masked
        self.read_only_paths = read_only_paths
        self.root_read_only = root_read_only
        self.root_propagation = root_propagation
        self.hostname = hostname
        self.domainname = domainname
        self.sysctls = sysctls
        self.arguments = arguments
        self.environment = environment
        self.cwd = cwd
        self.make_cwd = make_cwd
        self.user = user
        self.passwd_entry = passwd_entry
        self.files_dir = files_dir
        self.copy_up = copy_up
        self.capabilities = capabilities
        self.no_new_privileges = no_new_privileges
        self.seccomp = seccomp
        self.apparmor = apparmor
        self.selinux = selinux
        self.limits = limits
        self.oom_score_adj = oom_score_adj
        self.persona = persona
        self.terminal = terminal
        self.console_size = console_size
        self.reaper = reaper
        self.preserve_fds = preserve_fds
        self.no_pivot = no_pivot
        self.keep_keyring = keep_keyring
        self.cleanup = cleanup
        self.fuse_overlayfs = fuse_overlayfs
        self.hooks = hooks
        self.attributes = attributes
        self.memory_policy = memory_policy
        self.time_offsets = time_offsets
        self.listener = listener
        self.net_devices = net_devices or []
        self.idmapped = idmapped
        self.warnings = warnings or []
        self.wait_attached = bool(hooks)
        self.foreign = False
        self.keeper: Keeper | None = None
        self.airlock = False

    def describe(self) -> list[str]:
        """The plan as lines, in the order of execution; the environment by its names alone, it may hold secrets."""
        from rootless.linux import libc

        known = {number: name for name, number in vars(libc).items() if name.startswith("CLONE_NEW")}
        short = {bit: name.removeprefix("CLONE_NEW").lower() for bit, name in known.items()}
        own = " ".join(sorted(name for bit, name in short.items() if bit & self.namespaces))
        root = self.rootfs
        lines = [f"namespaces: {own}"]
        lines += [f"join {short[kind]}: {path}" for kind, path in self.joined]
        lines += [f"uids: {_rows(self.idmap.uids)}", f"gids: {_rows(self.idmap.gids)}"]
        lines.append(f"root: {root['kind']} {':'.join(root['lower']) or root['merged']}")
        lines += [f"copy up: {path} -> {volume}" for path, volume in self.copy_up]
        lines += [operation.describe() for operation in self.operations]
        lines += [f"sysctl: {path} = {value}" for path, value in self.sysctls]
        lines += [f"hostname: {self.hostname}"] if self.hostname else []
        lines += [f"domainname: {self.domainname}"] if self.domainname else []
        lines += [f"mask: {path}" for path in self.masked] + [f"read-only: {path}" for path in self.read_only_paths]
        lines += ["read-only: /"] if self.root_read_only else []
        lines += [f"offset of a clock: {line}" for line in self.time_offsets.decode().splitlines()]
        lines += [f"network device: {host} as {name}" for host, name in self.net_devices]
        lines += self.attributes.text if self.attributes else []
        if self.memory_policy:
            mode, nodes = self.memory_policy
            lines.append(f"memory policy: {mode:#x} of the nodes {int.from_bytes(nodes, 'little'):#x}")
        lines += [f"limit: {limit.name} {limit.soft}:{limit.hard}" for limit in self.limits]
        user = self.user
        who = user.text if user.text is not None else f"{user.uid}:{user.gid}"
        lines.append(f"user: {who or '0'} groups: {[*user.groups, *user.extra_groups]}")
        lines.append(f"capabilities: {self.capabilities!r}")
        lines.append(f"no_new_privs: {self.no_new_privileges}")
        lines.append(f"seccomp: {f'{len(self.seccomp) // 8} instructions' if self.seccomp else 'none'}")
        lines += [f"seccomp listener: {self.listener.path}"] if self.listener else []
        lines += ["owners that are given to files: remembered"] if self.keeper else []
        lines += [f"apparmor: {self.apparmor}"] if self.apparmor else []
        lines += [f"selinux: {self.selinux}"] if self.selinux else []
        lines.append(f"cwd: {self.cwd}{' (made if missing)' if self.make_cwd else ''}")
        lines.append(f"environment: {' '.join(sorted(self.environment))}")
        lines.append(f"{'init, then ' if self.reaper else ''}exec: {self.arguments!r}")
        return lines


def _rows(rows: list[tuple[int, int, int]]) -> str:
    return " ".join(f"{inside}:{outside}:{length}" for inside, outside, length in rows)
