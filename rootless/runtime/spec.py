"""Typed views of the OCI runtime specification's ``config.json``, version 1.3: what this runtime reads of it."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypedDict

    from rootless.init.hooks import Hook
    from rootless.security.seccomp_profile import Profile

    class Root(TypedDict, total=False):
        """The root file system."""

        path: str
        readonly: bool

    class IdMapping(TypedDict):
        """One row of an id map."""

        containerID: int
        hostID: int
        size: int

    class Mount(TypedDict, total=False):
        """One entry of ``mounts``.

        ``beneath`` is this project's own: a path below the directory ``source``, on which no link is followed.
        """

        destination: str
        type: str
        source: str
        options: list[str]
        uidMappings: list[IdMapping]
        gidMappings: list[IdMapping]
        beneath: str

    class User(TypedDict, total=False):
        """The process's ids."""

        uid: int
        gid: int
        umask: int | None
        additionalGids: list[int]

    class Capabilities(TypedDict, total=False):
        """Names of capabilities(7), by set."""

        bounding: list[str]
        effective: list[str]
        permitted: list[str]
        inheritable: list[str]
        ambient: list[str]

    class Rlimit(TypedDict, total=False):
        """A resource limit; ``explicit`` is this project's own: if false, one that cannot be set is lowered."""

        type: str
        soft: int
        hard: int
        explicit: bool

    class ConsoleSize(TypedDict):
        """Of the terminal, in characters."""

        height: int
        width: int

    class Process(TypedDict, total=False):
        """The program to start."""

        terminal: bool
        consoleSize: ConsoleSize
        user: User
        args: list[str]
        env: list[str]
        cwd: str
        capabilities: Capabilities
        rlimits: list[Rlimit]
        noNewPrivileges: bool
        oomScoreAdj: int
        apparmorProfile: str
        selinuxLabel: str
        scheduler: dict[str, Any]
        ioPriority: dict[str, Any]
        execCPUAffinity: dict[str, str]

    class Namespace(TypedDict, total=False):
        """A namespace: new, or the existing one at ``path``."""

        type: str
        path: str

    class Device(TypedDict, total=False):
        """A device node."""

        path: str
        type: str
        major: int
        minor: int
        fileMode: int
        uid: int
        gid: int

    class Personality(TypedDict, total=False):
        """The execution domain."""

        domain: str
        flags: list[str]

    class TimeOffset(TypedDict, total=False):
        """How far a clock of the container is ahead of the host's."""

        secs: int
        nanosecs: int

    class NetDevice(TypedDict, total=False):
        """A network device of the host's that moves into the container; ``name`` is its name there."""

        name: str

    class Linux(TypedDict, total=False):
        """The Linux section."""

        namespaces: list[Namespace]
        uidMappings: list[IdMapping]
        gidMappings: list[IdMapping]
        devices: list[Device]
        sysctl: dict[str, str]
        seccomp: Profile
        rootfsPropagation: str
        maskedPaths: list[str]
        readonlyPaths: list[str]
        mountLabel: str
        personality: Personality
        resources: dict[str, Any]
        cgroupsPath: str
        timeOffsets: dict[str, TimeOffset]
        memoryPolicy: dict[str, Any]
        intelRdt: dict[str, Any]
        netDevices: dict[str, NetDevice]

    class Spec(TypedDict, total=False):
        """``config.json``."""

        ociVersion: str
        process: Process
        root: Root
        hostname: str
        domainname: str
        mounts: list[Mount]
        hooks: dict[str, list[Hook]]
        annotations: dict[str, str]
        linux: Linux

    class Extras(TypedDict, total=False):
        """What a start needs beyond the specification.

        ``user``: ``name[:group]`` or ids, resolved inside the root; without it the numbers of the Spec hold.
        ``groups``: further groups by name or id. ``keep_groups``: the caller's stay. ``make_cwd``: make the working
        directory if it is missing. ``passwd_entry``: show the user in /etc/passwd, and ``account``, somebody else as
        [name, user id, group id]. ``copy_up``: (path in the root, empty volume's directory). ``fuse_overlayfs``:
        absolute path of the helper. ``init_binary``: "reaper" for ``--init``. ``cleanup``: directories that the shim
        deletes at the end. ``files_dir``: where generated files go.
        ``seccomp``: a compiled filter, taken in place of the Spec's ``linux.seccomp``.
        """

        user: str | None
        groups: list[str]
        keep_groups: bool
        make_cwd: bool
        passwd_entry: bool
        account: list[Any]
        copy_up: list[tuple[str, str]]
        fuse_overlayfs: str
        init_binary: str | None
        preserve_fds: int
        no_pivot: bool
        keep_keyring: bool
        terminal: bool
        cleanup: list[str]
        files_dir: str
        seccomp: bytes | None
