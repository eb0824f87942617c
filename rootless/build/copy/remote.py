"""URLs and repositories as sources of ADD: fetched once into the stage's directory, for the digest and for the copy."""

from __future__ import annotations

import hashlib
import os
import posixpath
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote, urlsplit

from rootless.build.contexts import words
from rootless.errors import RootlessError

if TYPE_CHECKING:
    from rootless.build.copy.request import Request
    from rootless.build.job import Job

_LIMIT = 64 << 30  # bytes of a file


class Remote(NamedTuple):
    """What was fetched: a file with the name it has in a directory, or a ``directory``; ``identity`` names its content.
    """

    path: str
    name: str
    time: int
    identity: str
    is_directory: bool


def identity(job: Job, request: Request, word: str) -> str:
    """What a remote source holds, fetched only where the Containerfile does not say it already."""
    if words.is_repository(word):
        repository = words.repository(word)
        from rootless.build.contexts import git

        if git.is_commit(repository.reference):
            return f"git {repository.reference} {repository.subdirectory}"
    elif request.checksum.startswith("sha256:"):
        return f"{request.checksum} {_name(word, request)}"
    return fetch(job, request, word).identity


def fetch(job: Job, request: Request, word: str) -> Remote:
    """Fetch a source, if this stage has not done so before. Raises RootlessError."""
    key = hashlib.sha256(f"{word}\0{request.keep_git_dir}".encode("utf-8", "surrogateescape")).hexdigest()[:24]
    path = f"{job.work}/fetched-{key}"
    if words.is_repository(word):
        return _repository(word, path, request)
    return _file(job, word, path, request)


def _repository(word: str, path: str, request: Request) -> Remote:
    from rootless.build.contexts import git

    repository = words.repository(word)
    if os.path.isdir(path):
        directory, commit = _recall(path)
    else:
        cloned = git.clone(repository, path, keep=request.keep_git_dir)
        directory, commit = cloned.directory, cloned.commit
        _remember(path, directory, commit)
    wanted = request.checksum.removeprefix("sha1:")
    if wanted and not (len(wanted) >= 7 and commit.startswith(wanted)):
        raise RootlessError(f"the commit of {word[:200]} is {commit}, and not {wanted[:80]}", "is --checksum right?")
    return Remote(directory, "", 0, f"git {commit} {repository.subdirectory}", True)


def _file(job: Job, word: str, path: str, request: Request) -> Remote:
    from rootless.registry.fetch import fetch as fetch_file
    from rootless.registry.options import ConnectionOptions

    name = _name(word, request)
    algorithm, _, hexadecimal = request.checksum.partition(":")
    if request.checksum and (algorithm != "sha256" or len(hexadecimal) != 64 or hexadecimal.strip("0123456789abcdef")):
        raise RootlessError(f"--checksum={request.checksum[:80]} is none", "write sha256: and 64 hexadecimal digits")
    if os.path.exists(path):
        digest, time = _recall(path)
    else:
        values = {key: job.values.get(key) for key in ("tls_verify", "retry", "retry_delay")}
        options = ConnectionOptions.from_values(values)
        fetched = fetch_file(word, path, options, _LIMIT)
        digest, time = fetched.digest, str(fetched.time)
        _remember(path, digest, time)
    if request.checksum and digest != request.checksum:
        hint = "is --checksum right, or the file not?"
        raise RootlessError(f"the digest of {word[:200]} is {digest}, and not {request.checksum}", hint)
    return Remote(path, name, int(time), f"{digest} {name} {time}", False)


def _remember(path: str, *lines: str) -> None:
    with open(f"{path}.known", "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write("\n".join(lines))


def _recall(path: str) -> tuple[str, str]:
    with open(f"{path}.known", encoding="utf-8", errors="surrogateescape") as file:
        first, second = file.read().split("\n")
    return first, second


def _name(word: str, request: Request) -> str:
    """The last part of a URL's path, which a destination that is a directory needs."""
    try:
        name = posixpath.basename(unquote(urlsplit(word).path))
    except ValueError:
        name = ""
    if request.is_directory and (name in ("", ".", "..") or "/" in name or "\0" in name):
        raise RootlessError(f"{word[:200]} ends with no name for a file", "write the name in the destination")
    return name or "download"
