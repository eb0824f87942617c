"""The system call filter of a container: a JSON profile, compiled once to BPF and kept in the cache.

A start only reads the cached program. What is compiled, and how, is in `seccomp_profile` (which rules of a profile
apply) and `seccomp_compile` (rules to BPF, through libseccomp); both are imported when the cache has no answer.

The cache is ``$XDG_CACHE_HOME/rootless/seccomp/KEY``, one file for each profile, set of capabilities and machine.
A file that is not the caller's own, or whose check sum is wrong, is made again.
"""

from __future__ import annotations

import os
import zlib

from rootless.errors import RootlessError
from rootless.linux.seccomp import Filter
from rootless.paths import cache_dir
from rootless.security.capabilities import mask

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from rootless.security.seccomp_profile import Profile, SpecSeccomp

_FORMAT = 2
"""Raised with every change of the compiler that changes its output."""

_OPENS_NESTED = "CAP_SYS_ADMIN"
_PROFILES = os.path.dirname(os.path.abspath(__file__)) + "/profiles/"
_MAX_PROFILE = 4 << 20
_MAX_PROGRAM = 4096 * 8  # BPF_MAXINSNS instructions of 8 bytes
_FLAGS = 4
_TRAILER = _FLAGS + 8


def default_profile(caps: Iterable[str], hardened: bool = False) -> SpecSeccomp:
    """``linux.seccomp`` of the built-in profile for a container with the bounding set ``caps``."""
    from rootless.security.seccomp_profile import to_spec

    return to_spec(built_in(hardened), set(caps))


def built_in(hardened: bool = False, nested: bool = False) -> Profile:
    """The built-in profile, before it is resolved for capabilities and machine.

    That of a ``nested`` engine is to be resolved with `_OPENS_NESTED` among the capabilities.
    """
    from rootless.security.seccomp_profile import parse

    profile = parse(_read(_PROFILES + "default.json"), "the built-in profile")
    for name in _further(hardened, nested):
        stricter = parse(_read(_PROFILES + name), "the built-in profile")
        profile["syscalls"] = profile["syscalls"] + stricter["syscalls"]
    return profile


def _further(hardened: bool, nested: bool) -> list[str]:
    return ["hardened.json"] * hardened + ["nested.json"] * nested


def program(
    profile: Profile | str | None, caps: Iterable[str], hardened: bool = False, nested: bool = False
) -> Filter:
    """The filter as BPF, with the profile's flags, ready for `linux.seccomp.load`.

    ``profile`` is the path of a JSON profile, a parsed one (also ``linux.seccomp`` of a Spec), or None for the
    built-in one. ``caps`` is the container's bounding set. ``nested``: it lets a container engine run inside, see
    ``nested.json``. Raises ``RootlessError``; there is no way to get an empty filter.
    """
    names = set(caps)
    if profile is None:
        # With the capability itself the container is to have all that it opens.
        nested = nested and _OPENS_NESTED not in names
        names |= {_OPENS_NESTED} if nested else set()
        files = ["default.json", *_further(hardened, nested)]
        source = b"".join([_read(_PROFILES + name) for name in files])
        # The files are ours, so a check sum tells versions apart; a cryptographic one costs an import.
        identity = f"{files[-1].removesuffix('.json')}-{len(source):x}-{zlib.crc32(source):08x}"
        return _cached(identity, names, lambda: built_in(hardened, nested))
    if isinstance(profile, str):
        path = profile
        source = _read(path)

        def read() -> Profile:
            from rootless.security.seccomp_profile import parse

            return parse(source, path)

        return _cached(_digest(source), names, read)
    from storage.jsonfast import dumps

    given = profile

    def check() -> Profile:
        from rootless.security.seccomp_profile import check

        return check(given)

    # What has a program in the cache was checked when that was made.
    return _cached(_digest(dumps(given).encode()), names, check)


def unpacker_program() -> Filter:
    """The filter of the processes that unpack layers, see `confine`."""
    source = _read(_PROFILES + "unpacker.json")
    identity = f"unpacker-{len(source):x}-{zlib.crc32(source):08x}"

    def load() -> Profile:
        from rootless.security.seccomp_profile import parse

        return parse(source, "of the unpacker")

    return _cached(identity, set(), load)


def _digest(data: bytes) -> str:
    """A cryptographic check sum in hexadecimal digits. hashlib would load OpenSSL, a tenth of a start."""
    try:
        from _blake2 import blake2b
    except ImportError:  # an interpreter that was built without it
        from hashlib import blake2b
    return blake2b(data, digest_size=32).hexdigest()


def _cached(identity: str, caps: set[str], load: Callable[[], Profile]) -> Filter:
    machine = os.uname()
    directory = cache_dir() + "/seccomp"
    path = f"{directory}/{_FORMAT}-{identity}-{mask(caps):x}-{machine.machine}-{machine.release}"
    found = _stored(path)
    if found:
        return found
    from rootless.security.seccomp_compile import compile_rules
    from rootless.security.seccomp_profile import flag_bits, to_spec

    spec = to_spec(load(), caps)
    code = Filter.of(compile_rules(spec), flag_bits(spec))
    _store(directory, path, code)
    return code


def _stored(path: str) -> Filter | None:
    """The program in ``path``, ``None`` if it is not there, not ours, or damaged."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        status = os.fstat(fd)
        if status.st_mode != 0o100600 or status.st_uid != os.geteuid():
            return None
        data = os.read(fd, _MAX_PROGRAM + _TRAILER)
    except OSError:
        return None
    finally:
        os.close(fd)
    code, trailer = data[:-_TRAILER], data[-_TRAILER:]
    if not code or trailer[_FLAGS:] != b"%08x" % zlib.crc32(code + trailer[:_FLAGS]):
        return None
    return Filter.of(code, int(trailer[:_FLAGS], 16))


def _trailer(code: Filter) -> bytes:
    """The flags and a check sum of all."""
    flags = b"%04x" % code.flags
    return flags + b"%08x" % zlib.crc32(code + flags)


def _store(directory: str, path: str, code: Filter) -> None:
    """Keep ``code`` for the next start; a cache that cannot be written only costs time."""
    from storage.atomic import write
    from storage.errors import StorageError

    try:
        os.makedirs(directory, 0o700, exist_ok=True)
        status = os.lstat(directory)
        if status.st_mode & 0o170000 != 0o040000 or status.st_uid != os.geteuid():
            return
        if status.st_mode & 0o077:
            os.chmod(directory, 0o700)
        write(path, code + _trailer(code), durable=False)
    except (OSError, StorageError):
        pass


def _read(path: str) -> bytes:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            data = os.read(fd, _MAX_PROFILE + 1)
        finally:
            os.close(fd)
    except OSError as error:
        raise RootlessError(f"cannot read the seccomp profile {path}: {error.strerror}") from error
    if len(data) > _MAX_PROFILE:
        raise RootlessError(f"cannot read the seccomp profile {path}: it is larger than 4 MiB")
    return data
