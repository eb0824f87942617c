"""The keeper: a process beside a container with a single id, which answers what this kernel cannot let it do.

chown(2) to an id that the container does not have would fail, and with it most installations of packages. A filter
(`rootless.init.keeper_filter`) has such calls answered here: the file becomes root's, whom it was to belong to is
remembered (`keeper_files`), and what setuid(2) and its like set is told by getuid(2) (`keeper_ids`).

::

    shim ──fork──▶ keeper      in the container's user namespace, in the host's mounts and processes
      └────fork──▶ init ── LISTENER ──▶ keeper        before its execve, and so does every process that joins later

It ends when nothing is left that could ask it. Where it is killed, the calls fail with ENOSYS; nothing waits for it. A
container cannot see it, nor look into it where it sees the host's processes: it is not dumpable, and no program of the
container's namespace.
"""

from __future__ import annotations

import errno
import gc
import os
import select
from _struct import pack

from rootless.init import keeper_ids, wire
from rootless.init.keeper_files import Files
from rootless.init.keeper_filter import CHOWN, GET_IDS, SET_IDS, asking, is_possible, name_of, succeeding
from rootless.linux import seccomp, unotify
from rootless.linux.caps import CAP_CHOWN, CAP_SETGID, CAP_SETUID
from rootless.linux.libc import PR_SET_DUMPABLE, close_range, prctl, set_process_name
from rootless.linux.seccomp import FLAG_NEW_LISTENER, FLAG_WAIT_KILLABLE_RECV, Filter
from rootless.userns import become_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from rootless.idmaps import IdMap
    from rootless.init.plan import Keeper
    from rootless.init.wire import Channel

SOCKET = "owners"
"""The name of the socket at which a process that joins the container hands its listener over."""


def is_needed(idmap: IdMap) -> bool:
    """Whether a container with this map has root and nobody else."""
    return idmap.single() and idmap.uids[0][0] == 0 and idmap.gids[0][0] == 0 and is_possible()


def start(keeper: Keeper, idmap: IdMap) -> int:
    """Fork the keeper; its pid. In the new user namespace, whose map may come later, but in the old pid namespace."""
    near, far = wire.pair()
    pid = os.fork()
    if pid == 0:
        try:
            near.close()
            _serve(keeper, idmap, far)
        except BaseException:  # nobody is there to be told: the container's calls fail from now on
            os._exit(1)
        finally:
            os._exit(0)
    far.close()
    keeper.channel = near
    return pid


def install(keeper: Keeper, capabilities: int) -> None:
    """Load the filter into this process, to be called with the power to do so, and hand its listener over.

    Where nobody can answer, those calls succeed without doing anything that ``capabilities`` (a bit each) allow. Raises
    OSError.
    """
    channel = keeper.channel
    if channel is not None and _hand_over(channel):
        return
    names = [name for name in (*CHOWN, *SET_IDS) if capabilities >> needed(name) & 1]
    seccomp.load(succeeding(names))


def needed(name: str) -> int:
    """The capability for a call that changes owners or ids."""
    if name in CHOWN:
        return CAP_CHOWN
    return CAP_SETUID if name.endswith("uid") else CAP_SETGID


def _hand_over(channel: Channel) -> bool:
    """Whether the keeper has a listener of this process now. The kernel may know none, or have another one already."""
    try:
        listener = _load_asking()
    except OSError:
        return False
    told = channel.send(wire.LISTENER, fd=listener)
    os.close(listener)
    channel.close()
    return told


def _load_asking() -> int:
    """Raises OSError where the kernel has no listeners, or another one decides already."""
    program = asking()
    try:
        return seccomp.load(Filter.of(program, FLAG_NEW_LISTENER | FLAG_WAIT_KILLABLE_RECV))
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    return seccomp.load(Filter.of(program, FLAG_NEW_LISTENER))


def _serve(keeper: Keeper, idmap: IdMap, first: Channel) -> NoReturn:
    """Answer until nobody is left who could ask."""
    proc = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    directory = os.open(keeper.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    kept = sorted((proc, directory, keeper.gate, first.fileno()))
    low = 0
    for fd in kept:
        close_range(low, fd - 1)
        low = fd + 1
    close_range(low)
    gc.enable()
    prctl(PR_SET_DUMPABLE, 0)
    set_process_name("keeper")
    service = _Service(proc, directory, keeper.gate, idmap)
    service.add(first)
    while service.channels or service.listeners:
        service.step()
    os._exit(0)


class _Service:
    __slots__ = ("_files", "_gate", "_idmap", "_poll", "_proc", "_root", "_table", "channels", "listeners")

    def __init__(self, proc: int, directory: int, gate: int, idmap: IdMap) -> None:
        self._proc = proc
        self._gate = gate
        self._idmap = idmap
        self._root = False
        self._files = Files(proc, directory)
        self._table = keeper_ids.Table(proc)
        self._poll = select.poll()
        self._poll.register(gate, select.POLLIN)
        self.channels: dict[int, Channel] = {}
        self.listeners: set[int] = set()

    def add(self, channel: Channel) -> None:
        """Wait for what comes on a channel."""
        self.channels[channel.fileno()] = channel
        self._poll.register(channel.fileno(), select.POLLIN)

    def step(self) -> None:
        """Wait for something, and deal with it."""
        for fd, events in self._poll.poll():
            if fd in self.listeners:
                if events & select.POLLIN:
                    self._answer(fd)
                else:  # the last process with its filter has ended
                    self._poll.unregister(fd)
                    self.listeners.discard(fd)
                    os.close(fd)
            elif fd in self.channels:
                self._take(self.channels[fd])
            elif fd == self._gate:
                try:
                    self.add(wire.accept(fd))
                except OSError:  # whoever wanted to join has ended
                    continue

    def _take(self, channel: Channel) -> None:
        try:
            kind, values = channel.receive()
        except (OSError, ValueError, EOFError, TypeError):
            kind, values = wire.CLOSED, ()
        listener = values[-1] if values else None
        if kind == wire.LISTENER and isinstance(listener, int):
            if not self._root:
                become_root(self._idmap)
                prctl(PR_SET_DUMPABLE, 0)
                self._root = True
            self.listeners.add(listener)
            self._poll.register(listener, select.POLLIN)
            return
        self._poll.unregister(channel.fileno())
        del self.channels[channel.fileno()]
        channel.close()

    def _answer(self, listener: int) -> None:
        call = unotify.receive(listener)
        if call is None:
            return
        try:
            self._decide(listener, call)
        except (OSError, ValueError, OverflowError):
            unotify.let_pass(listener, call)

    def _decide(self, listener: int, call: unotify.Call) -> None:
        name = name_of(call.architecture, call.number)
        if name in CHOWN:
            ids = self._table.of(call.pid)
            free = ids.is_root() and self._table.has(call.pid, needed(name))
            self._files.see_root(call.pid)
            error = self._files.chown(listener, call, name, None if free else (ids.uids[1], ids.gids[1]))
            if error is not None:
                unotify.answer(listener, call, error=error)
        elif name in SET_IDS:
            ids = self._table.of(call.pid)
            free = ids.is_root() and self._table.has(call.pid, needed(name))
            error = keeper_ids.change(ids, name, call.arguments, free)
            if not error and name != "setgroups":
                self._table.keep(call.pid, ids)
            unotify.answer(listener, call, error=error)
        elif name in GET_IDS:
            ids = self._table.of(call.pid)
            if name.startswith("getres"):
                self._tell_three(listener, call, ids.gids if name.endswith("gid") else ids.uids)
            else:
                unotify.answer(listener, call, keeper_ids.asked(ids, name))
        else:
            unotify.let_pass(listener, call)

    def _tell_three(self, listener: int, call: unotify.Call, three: list[int]) -> None:
        """Answer getresuid(2): write three ids where its caller wants them."""
        error = 0
        try:
            fd = os.open(f"{call.pid}/mem", os.O_RDWR | os.O_CLOEXEC, dir_fd=self._proc)
            try:
                if not unotify.is_valid(listener, call):
                    return
                for number, pointer in zip(three, call.arguments, strict=False):
                    os.pwrite(fd, pack("I", number), pointer)
            finally:
                os.close(fd)
        except (OSError, OverflowError):
            error = errno.EFAULT
        unotify.answer(listener, call, error=error)
