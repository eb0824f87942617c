"""What a COPY or ADD asks for, both in one form."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING, NamedTuple

from rootless.containerfile import model

if TYPE_CHECKING:
    from rootless.build.state import State

MAX_NAME = 255  # bytes of a name: limits.h, NAME_MAX


class Request(NamedTuple):
    """``paths`` and ``remote`` (URLs and repositories) are the sources; ``documents`` are (name, content).

    ``destination`` is absolute; ``is_directory``: it was written as one. ``unpack``: local archives, ``unpack_remote``:
    those of URLs.
    """

    paths: tuple[str, ...]
    remote: tuple[str, ...]
    documents: tuple[tuple[str, bytes], ...]
    destination: str
    is_directory: bool
    from_: str
    chown: str
    chmod: str
    link: bool
    parents: bool
    exclude: tuple[str, ...]
    unpack: bool
    unpack_remote: bool
    checksum: str
    keep_git_dir: bool


def read(state: State, step: model.Copy | model.Add) -> Request:
    """The request of an instruction whose variables are expanded. Raises ContainerfileError."""
    remote: tuple[str, ...] = ()
    paths = step.sources
    if isinstance(step, model.Add):
        from rootless.build.contexts.words import is_remote

        remote = tuple(word for word in paths if is_remote(word))
        paths = tuple(word for word in paths if not is_remote(word))
    checksum = step.checksum if isinstance(step, model.Add) else ""
    if checksum and (len(remote) != 1 or paths or step.documents):
        raise step.origin.error(
            "--checksum is for one URL or one repository", "give each its own ADD", near="--checksum"
        )
    if not (paths or remote or step.documents):
        raise step.origin.error("there is no source")
    workdir = state.settings.get("WorkingDir") or "/"
    text = step.destination
    if not text:
        raise step.origin.error("the destination is empty")
    path = posixpath.normpath(posixpath.join("/", workdir, text))
    documents = tuple(
        (_document_name(step, document), document.data.encode("utf-8", "surrogateescape"))
        for document in step.documents
    )
    several = len(paths) + len(remote) + len(documents) > 1
    return Request(
        paths=paths, remote=remote, documents=documents, destination=path.lstrip("/"),
        is_directory=several or text.endswith(("/", "/.", "/..")) or text in (".", ".."),
        from_=step.from_ if isinstance(step, model.Copy) else "", chown=step.chown, chmod=step.chmod, link=step.link,
        parents=isinstance(step, model.Copy) and step.parents, exclude=step.exclude,
        unpack=isinstance(step, model.Add) and step.unpack is not False,
        unpack_remote=isinstance(step, model.Add) and step.unpack is True, checksum=checksum,
        keep_git_dir=isinstance(step, model.Add) and step.keep_git_dir,
    )  # fmt: skip


def _document_name(step: model.Copy | model.Add, document: model.Heredoc) -> str:
    name = document.name
    if "/" in name or name in ("", ".", "..") or "\0" in name or len(name.encode("utf-8", "replace")) > MAX_NAME:
        raise step.origin.error(f"the name {name[:80]!r} is no name of a file", near=name)
    return name
