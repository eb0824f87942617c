"""Where the program keeps its files: the XDG base directories of the user.

============  ==============================  =====================================
function      default                         holds
============  ==============================  =====================================
`data_dir`    ``~/.local/share/rootless``     images, layers, containers, volumes
`config_dir`  ``~/.config/rootless``          the user's settings
`cache_dir`   ``~/.cache/rootless``           what can be made again
`run_dir`     ``$XDG_RUNTIME_DIR/rootless``   state that ends with the boot
============  ==============================  =====================================

As the XDG Base Directory Specification asks, a relative path in one of its variables counts as unset.

And where the system keeps the helpers that this program starts: `helper`.
"""

from __future__ import annotations

import os

from rootless.errors import RootlessError

_WRITABLE, _OPEN = 0o022, 0o077
NAME = "rootless"
_HELPER_DIRECTORIES = ("/usr/bin", "/bin", "/usr/local/bin", "/usr/sbin", "/sbin", "/run/wrappers/bin")


def home() -> str:
    """The user's home: ``$HOME`` if absolute, else what the password database says."""
    path = os.environ.get("HOME", "")
    if path.startswith("/"):
        return path
    import pwd

    try:
        path = pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        path = ""
    if not path.startswith("/"):
        raise RootlessError(f"cannot find the home directory of uid {os.getuid()}", "set HOME to an absolute path")
    return path


def config_home() -> str:
    """``$XDG_CONFIG_HOME``: the configuration of all programs (``containers/`` is read from it too)."""
    return _base("XDG_CONFIG_HOME", ".config")


def data_dir() -> str:
    """The store: images, layers, containers and volumes."""
    return _base("XDG_DATA_HOME", ".local/share") + "/" + NAME


def config_dir() -> str:
    """The user's settings for this program."""
    return config_home() + "/" + NAME


def cache_dir() -> str:
    """What can be deleted at any time and is made again when needed."""
    return _base("XDG_CACHE_HOME", ".cache") + "/" + NAME


def runtime_home() -> str:
    """``$XDG_RUNTIME_DIR``, else ``/run/user/UID``, if nobody but the user can make names in it; ``""`` for neither.

    It should be closed to others, but podman opens it for passing through; what is made in it is closed in any case.
    """
    for path in (os.environ.get("XDG_RUNTIME_DIR", ""), f"/run/user/{os.geteuid()}"):
        if path.startswith("/") and not _objection(path, _WRITABLE):
            return path
    return ""


def run_dir() -> str:
    """State that must not outlive the boot.

    Without a runtime directory of the user's own it is below ``/run`` for root, else ``/tmp/rootless-UID``, made here
    with mode 0700. Anybody could have made that name before, so one that is a link, has another owner or lets others
    in is refused.
    """
    parent = runtime_home() or _system_run()
    if parent:
        return parent + "/" + NAME
    # Inside `rootless unshare` the effective uid is 0, but the directory is still that of the caller outside.
    owner = os.environ.get("_CONTAINERS_ROOTLESS_UID", "")
    path = f"/tmp/{NAME}-{owner if owner.isdigit() else os.geteuid()}"
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        objection = _objection(path)
        if objection:
            raise RootlessError(
                f"cannot use {path} for runtime files: {objection}",
                "set XDG_RUNTIME_DIR to a directory of your own with mode 0700",
            ) from None
    except OSError as error:
        raise RootlessError(f"cannot create {path}: {error.strerror}", "set XDG_RUNTIME_DIR") from None
    return path


def _system_run() -> str:
    """``/run`` for the machine's root; ``""`` for anybody else, also for root of a user namespace."""
    return "/run" if os.geteuid() == 0 and not _objection("/run", _WRITABLE) else ""


def oci_dir() -> str:
    """State of the OCI runtime's containers, which ends with the boot."""
    return run_dir() + "/oci"


def _base(variable: str, default: str) -> str:
    path = os.environ.get(variable, "")
    return path.rstrip("/") or "/" if path.startswith("/") else home().rstrip("/") + "/" + default


def _objection(path: str, forbidden: int = _OPEN) -> str:
    """Why ``path`` is no directory of the user without the ``forbidden`` permissions; empty if it is one."""
    try:
        status = os.lstat(path.rstrip("/") or "/")
    except OSError as error:
        return error.strerror or "it cannot be read"
    if status.st_mode & 0o170000 != 0o040000:  # S_ISDIR, without importing stat's names
        return "it is not a directory"
    if status.st_uid != os.geteuid():
        return f"it belongs to uid {status.st_uid}"
    if status.st_mode & forbidden:
        return f"its mode is {status.st_mode & 0o7777:04o}, not 0700"
    return ""


def helper(name: str) -> str | None:
    """The absolute path of a set-id helper such as ``newuidmap``, sought in the system's directories only."""
    for directory in _HELPER_DIRECTORIES:
        path = f"{directory}/{name}"
        if os.access(path, os.X_OK):
            return path
    return None
