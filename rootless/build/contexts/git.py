"""Fetching a repository with the program git, none of whose conveniences may be turned against the user.

What the repository brings is obeyed in nothing: no hooks, no file system monitor, no transport but the network's own
(``file://`` and ``ext::`` in a submodule would read the machine, or run commands), no question on the terminal. The
user's own settings hold: they have the proxies and credentials.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
from typing import TYPE_CHECKING, NamedTuple

from rootless import paths
from rootless.errors import RootlessError
from rootless.linux.path import RESOLVE_BENEATH, RESOLVE_NO_MAGICLINKS, openat2

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rootless.build.contexts.words import Repository

_PROTOCOLS = "git:http:https:ssh"
_MASK = 0o022  # of a usual checkout, whatever the user's is
_PATIENCE = 3600  # seconds for one command of git
_COMMIT = re.compile(r"[0-9a-f]{7,64}")
_WHOLE_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_SETTINGS = {
    "core.hooksPath": "/dev/null", "core.fsmonitor": "false", "protocol.allow": "never", "protocol.git.allow": "always",
    "protocol.http.allow": "always", "protocol.https.allow": "always", "protocol.ssh.allow": "always",
    "advice.detachedHead": "false", "init.defaultBranch": "main", "init.templateDir": "", "core.autocrlf": "false",
    "gc.auto": "0", "maintenance.auto": "false", "http.lowSpeedLimit": "1024",
    "http.lowSpeedTime": "30", "core.askPass": "",
}  # fmt: skip
_INHERITED = (
    "HOME", "PATH", "USER", "LOGNAME", "LANG", "SSH_AUTH_SOCK", "XDG_CONFIG_HOME", "SSL_CERT_FILE", "SSL_CERT_DIR",
    "http_proxy", "https_proxy", "no_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY",
    "GIT_SSH_COMMAND", "GIT_SSL_CAINFO", "GIT_SSL_NO_VERIFY",
)  # fmt: skip


class Clone(NamedTuple):
    """``directory`` is the part of it that was asked for; ``time``: when the commit was made, in seconds."""

    directory: str
    commit: str
    time: int


def is_commit(reference: str) -> bool:
    """Whether a reference is a whole commit id, which never means anything else."""
    return bool(_WHOLE_COMMIT.fullmatch(reference))


def clone(repository: Repository, target: str, *, keep: bool = False) -> Clone:
    """Fetch the repository into the new directory ``target``, only the commit where that is possible.

    ``keep``: with ``.git``. Every file gets the time of the commit. Raises RootlessError.
    """
    git = _Git(target, repository)
    os.mkdir(target, 0o700)
    git("init", "--quiet")
    git.fetch(repository.reference)
    commit = git("rev-parse", "--verify", "--quiet", "HEAD^{commit}").strip()
    time = int(git("show", "--no-patch", "--format=%ct", "HEAD").strip() or 0)
    if _is_file(f"{target}/.gitmodules"):
        git("submodule", "--quiet", "update", "--init", "--recursive", "--depth", "1")
    if not keep:
        _remove_git(target)
    found = _subdirectory(target, repository.subdirectory)
    _set_times(target, time)
    return Clone(found, commit, time)


class _Git:
    """Runs git in one directory."""

    def __init__(self, directory: str, repository: Repository) -> None:
        program = paths.helper("git")
        if program is None:
            raise RootlessError("cannot fetch a repository: git is not installed", "install the package git")
        self._program = program
        self._directory = directory
        self._url = repository.url
        self._environment = {key: os.environ[key] for key in _INHERITED if key in os.environ}
        self._environment |= {
            "GIT_TERMINAL_PROMPT": "0", "GIT_ALLOW_PROTOCOL": _PROTOCOLS, "GIT_LFS_SKIP_SMUDGE": "1", "LC_ALL": "C",
            "GIT_CEILING_DIRECTORIES": os.path.dirname(directory), "GIT_CONFIG_COUNT": str(len(_SETTINGS)),
            "GIT_SSH_VARIANT": "ssh",
        }  # fmt: skip
        self._environment.setdefault("GIT_SSH_COMMAND", "ssh -o BatchMode=yes")
        for number, (key, value) in enumerate(_SETTINGS.items()):
            self._environment[f"GIT_CONFIG_KEY_{number}"] = key
            self._environment[f"GIT_CONFIG_VALUE_{number}"] = value

    def __call__(self, *words: str) -> str:
        """Run a command; what it wrote. Raises RootlessError with the last thing it said."""
        done = self._run(words)
        if done.returncode:
            raise self._failed(done.stderr)
        return done.stdout

    def _run(self, words: Sequence[str]) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(
                [self._program, *words], cwd=self._directory, env=self._environment, stdin=subprocess.DEVNULL,
                capture_output=True, text=True, errors="replace", timeout=_PATIENCE, check=False,
                umask=_MASK,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise RootlessError(f"cannot fetch {_public(self._url)}: no end after {_PATIENCE} s") from None
        except OSError as error:
            raise RootlessError(f"cannot run git: {error.strerror}") from None

    def fetch(self, reference: str) -> None:
        """Fetch what ``reference`` means and check it out: it alone, else, where a server cannot, everything."""
        wanted = reference or "HEAD"
        alone = self._run(["fetch", "--quiet", "--depth", "1", "--no-tags", "--", self._url, wanted])
        if not alone.returncode:
            self("checkout", "--quiet", "--detach", "FETCH_HEAD")
            return
        everything = ["+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*"]
        if not reference:
            everything.append("+HEAD:refs/remotes/origin/HEAD")
        done = self._run(["fetch", "--quiet", "--", self._url, *everything])
        if done.returncode:
            raise self._failed(alone.stderr or done.stderr)
        candidates = [f"refs/remotes/origin/{wanted}", f"refs/tags/{wanted}"]
        if _COMMIT.fullmatch(wanted):
            candidates.append(wanted)
        for candidate in candidates:
            found = self._run(["rev-parse", "--verify", "--quiet", f"{candidate}^{{commit}}"])
            if not found.returncode:
                self("checkout", "--quiet", "--detach", found.stdout.strip())
                return
        raise RootlessError(f"cannot fetch {_public(self._url)}: it has no branch, tag or commit {wanted[:80]!r}")

    def _failed(self, said: str) -> RootlessError:
        lines = said.splitlines()
        line = next((line for line in lines if line.startswith(("fatal:", "error:", "ssh:"))), (lines or [""])[0])
        why = line.partition(": ")[2] or line or "git failed"
        shown = "".join(char if char.isprintable() else "?" for char in why.replace(self._url, _public(self._url)))
        hint = "is the address right, and the network?"
        return RootlessError(f"cannot fetch {_public(self._url)}: {shown[:300]}", hint)


def _public(url: str) -> str:
    """A URL without a password in it."""
    return re.sub(r"(?<=://)[^/@]*:[^/@]*@", "", url)[:200]


def _is_file(path: str) -> bool:
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except OSError:
        return False


def _remove_git(target: str) -> None:
    """Remove what git keeps, of submodules too."""
    for directory, directories, files in os.walk(target):
        if ".git" in directories:
            directories.remove(".git")
            path = f"{directory}/.git"
            if os.path.islink(path):
                os.unlink(path)
            else:
                shutil.rmtree(path)
        if ".git" in files:
            os.unlink(f"{directory}/.git")


def _subdirectory(target: str, path: str) -> str:
    """A directory of the clone, with no link that leads out of it. Raises RootlessError."""
    root = os.open(target, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fd = openat2(root, path or ".", os.O_PATH | os.O_DIRECTORY, 0, RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS)
    except OSError:
        raise RootlessError(
            f"cannot use the directory {path[:80]!r} of the repository: there is none of that name in it"
        ) from None
    finally:
        os.close(root)
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)


def _set_times(target: str, seconds: int) -> None:
    for directory, directories, files in os.walk(target, topdown=False):
        for name in [*directories, *files]:
            os.utime(f"{directory}/{name}", (seconds, seconds), follow_symlinks=False)
        os.utime(directory, (seconds, seconds))
