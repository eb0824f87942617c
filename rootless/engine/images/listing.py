"""``images``: the store's images in the shape of ``podman images --format json``, and the filters of that command."""

from __future__ import annotations

from rootless.engine.filters import has_label, split
from rootless.engine.times import parse_moment, parse_rfc3339
from rootless.errors import NotFoundError, UsageError
from storage.errors import StorageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

    from rootless.engine.context import Engine
    from storage.image_lists import ImageList
    from storage.images import Image

    Test = Callable[[Image | ImageList], bool]

_FILTERS = (
    "after", "before", "containers", "dangling", "id", "intermediate", "label", "label!", "readonly", "reference",
    "since", "until",
)  # fmt: skip


def list_images(engine: Engine, values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The images, newest first. ``filter``: ``key=value`` words. Images that are damaged are left out."""
    users = _users(engine)
    test = image_filter(engine, values.get("filter") or [], users)
    rows = []
    for image in engine.store.images.list():
        try:
            if test(image):
                rows.append(_row(image, len(users.get(image.id, ()))))
        except StorageError:
            continue  # `system check` tells what is wrong with it
    rows += [_list_row(each) for each in engine.store.lists.list() if test(each)]
    rows.sort(key=lambda row: (-row["Created"], row["Names"]))
    return rows


def _users(engine: Engine) -> dict[str, list[str]]:
    """The containers made of each image: {image id: container ids}."""
    found: dict[str, list[str]] = {}
    for container_id, record in engine.store.containers.list():
        found.setdefault(record.get("image", ""), []).append(container_id)
    return found


def created_ns(image: Image | ImageList) -> int:
    """When the image was made, in nanoseconds since the epoch; 0 if it does not say."""
    try:
        return parse_rfc3339(image.created)
    except (ValueError, KeyError):
        return 0


def repo_digests(image: Image | ImageList) -> list[str]:
    """``repository@digest`` for each repository that names the image, by its manifest and by the index it came from."""
    from storage.images import INDEX_DIGEST

    digests = [image.digest]
    if INDEX_DIGEST in image.annotations:
        digests.append(image.annotations[INDEX_DIGEST])
    repositories = dict.fromkeys(_repository(name) for name in image.names)
    return [f"{repository}@{digest}" for repository in repositories for digest in digests]


def _repository(name: str) -> str:
    from storage import reference

    return reference.parse(name).name()


def tags(image: Image | ImageList) -> list[str]:
    """The names of the image that have a tag."""
    return [name for name in image.names if "@" not in name]


def labels(image: Image | ImageList) -> dict[str, str]:
    """The labels of the image's configuration."""
    found: dict[str, str] = image.config["config"].get("Labels", {})
    return found


def _row(image: Image, containers: int) -> dict[str, Any]:
    size = image.size
    names = list(image.names)
    return {
        "Id": image.id,
        "ParentId": "",
        "RepoTags": tags(image) or None,
        "RepoDigests": repo_digests(image),
        "Size": size,
        "SharedSize": 0,
        "VirtualSize": size,
        "Labels": labels(image) or None,
        "Containers": containers,
        "Names": names,
        "Digest": image.digest,
        "History": names,
        "Created": created_ns(image) // 1_000_000_000,
        "CreatedAt": image.created or "1970-01-01T00:00:00Z",
        **({"Dangling": True} if not names else {}),
    }


def _list_row(found: ImageList) -> dict[str, Any]:
    return {
        "Id": found.id,
        "ParentId": "",
        "RepoTags": tags(found) or None,
        "RepoDigests": repo_digests(found),
        "Size": found.size,
        "SharedSize": 0,
        "VirtualSize": found.size,
        "Labels": None,
        "Containers": 0,
        "Names": list(found.names),
        "Digest": found.digest,
        "History": list(found.names),
        "Created": created_ns(found) // 1_000_000_000,
        "CreatedAt": found.created or "1970-01-01T00:00:00Z",
        "IsManifestList": True,
        **({"Dangling": True} if not found.names else {}),
    }


def image_filter(engine: Engine, words: Iterable[str], users: Mapping[str, list[str]]) -> Test:
    """A test for images. Values of one key are alternatives, but labels must all be there."""
    tests: list[Test] = []
    for key, values in split(words).items():
        alternatives = [_one(engine, key, value, users) for value in values]
        tests.append(_all(alternatives) if key in ("label", "label!") else _any(alternatives))
    return _all(tests)


def _all(tests: list[Test]) -> Test:
    return lambda image: all(test(image) for test in tests)


def _any(tests: list[Test]) -> Test:
    return lambda image: any(test(image) for test in tests)


def _one(engine: Engine, key: str, value: str, users: Mapping[str, list[str]]) -> Test:
    if key == "reference":
        return lambda image: any(matches(name, value) for name in image.names)
    if key == "id":
        wanted = value.removeprefix("sha256:")
        return lambda image: image.id.startswith(wanted)
    if key == "label":
        return lambda image: has_label(labels(image), value)
    if key == "label!":
        return lambda image: not has_label(labels(image), value)
    if key in ("dangling", "intermediate", "containers", "readonly"):
        return _switch(key, _boolean(key, value), users)
    if key in ("before", "since", "after"):
        found = engine.store.images.find(value)
        if found is None:
            raise NotFoundError(f"{value}: image not known")
        limit = created_ns(found)
        if key == "before":
            return lambda image: created_ns(image) < limit
        return lambda image: created_ns(image) > limit
    if key == "until":
        moment = parse_moment(value, "--filter until")
        return lambda image: created_ns(image) < moment
    raise UsageError(f"cannot use the filter {key[:40]!r}", "the filters are " + ", ".join(_FILTERS))


def _switch(key: str, wanted: bool, users: Mapping[str, list[str]]) -> Test:
    if key == "dangling":
        return lambda image: (not image.names) == wanted
    if key == "containers":
        return lambda image: (image.id in users) == wanted
    return lambda _: not wanted  # nothing here is read-only, and nothing is kept only as a step of a build


def _boolean(key: str, value: str) -> bool:
    if value.lower() in ("true", "1"):
        return True
    if value.lower() in ("false", "0"):
        return False
    raise UsageError(f"cannot use the filter {key}={value[:40]}: not true or false")


def matches(name: str, pattern: str) -> bool:
    """Whether a full name is meant by a pattern of ``--filter reference=`` or the argument of ``images``.

    The pattern may leave out the registry, leading components and the tag, and hold ``*`` and ``?``.
    """
    from fnmatch import fnmatchcase

    without_tag = name.partition("@")[0]
    head, colon, tag = without_tag.rpartition(":")
    repository = head if colon and "/" not in tag else without_tag
    parts = repository.split("/")
    for start in range(len(parts)):
        tail = "/".join(parts[start:])
        if fnmatchcase(tail, pattern) or fnmatchcase(tail + name[len(repository) :], pattern):
            return True
    return False
