"""The half of the fake registry that takes content: uploads of blobs, manifests, and lists of what is there."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlencode, urlsplit

if TYPE_CHECKING:
    from tests.fakes.registry import FakeRegistry, Seen

Answer = tuple[int, dict[str, str], bytes]
PAGE = 3  # names on a page of a list


def error(status: int, code: str) -> Answer:
    """An answer with an error of the distribution specification."""
    return status, {}, json.dumps({"errors": [{"code": code, "message": code.lower().replace("_", " ")}]}).encode()


class Uploads:
    """The uploads that were begun at ``registry``, and what they have become."""

    def __init__(self, registry: FakeRegistry) -> None:
        self._registry = registry
        self._numbers = itertools.count()
        self.open: dict[str, bytearray] = {}
        self.place: Callable[[str], str] = str  # of the path where an upload goes on, what is said of it

    def keep(self, path: str, data: bytes) -> None:
        """Take what came of a body before it was cut."""
        name = urlsplit(path).path.rpartition("/")[2]
        if name in self.open:
            self.open[name] += data

    def answer(self, seen: Seen) -> Answer | None:
        """The honest answer; None to what is none of this half's business."""
        path = urlsplit(seen.path).path
        head, _, last = path.rpartition("/")
        repository = path.removeprefix("/v2/").partition("/blobs/")[0]
        if seen.method == "POST" and path.endswith("/blobs/uploads/"):
            return self._begin(repository, seen.query)
        if head.endswith("/blobs/uploads"):
            return self._go_on(repository, last, seen)
        if seen.method == "PUT" and head.endswith("/manifests"):
            return self._manifest(head.removeprefix("/v2/").removesuffix("/manifests"), last, seen)
        if path == "/v2/_catalog" or path.endswith("/tags/list"):
            return self._list(path, seen.query)
        if path == "/v1/search":
            found = self._registry.found
            return error(404, "UNKNOWN") if found is None else (200, {}, json.dumps({"results": found}).encode())
        return None

    def _begin(self, repository: str, query: dict[str, list[str]]) -> Answer:
        mount = query.get("mount", [""])[0]
        if mount in self._registry.elsewhere and query.get("from"):
            self._registry.blobs[mount] = self._registry.elsewhere[mount]
            return 201, {"Location": f"/v2/{repository}/blobs/{mount}"}, b""
        name = f"upload-{next(self._numbers)}"
        self.open[name] = bytearray()
        return 202, self._where(repository, name), b""

    def _where(self, repository: str, name: str) -> dict[str, str]:
        size = len(self.open[name])
        place = f"/v2/{repository}/blobs/uploads/{name}?state={size}"
        return {"Location": self.place(place), "Range": f"0-{max(0, size - 1)}"}

    def _go_on(self, repository: str, name: str, seen: Seen) -> Answer:
        if name not in self.open:
            return error(404, "BLOB_UPLOAD_UNKNOWN")
        have = self.open[name]
        if seen.method == "GET":
            return 204, self._where(repository, name), b""
        start = seen.headers.get("content-range", "").partition("-")[0]
        if start and int(start) != len(have):
            return 416, self._where(repository, name), b""
        have += seen.body
        if seen.method == "PATCH":
            return 202, self._where(repository, name), b""
        del self.open[name]
        wanted = parse_qs(urlsplit(seen.path).query)["digest"][0]
        digest = f"sha256:{hashlib.sha256(have).hexdigest()}"
        if wanted != digest:
            return error(400, "DIGEST_INVALID")
        self._registry.blobs[digest] = bytes(have)
        self._registry.finished.append(digest)
        return 201, {"Location": f"/v2/{repository}/blobs/{digest}", "Docker-Content-Digest": digest}, b""

    def _manifest(self, repository: str, name: str, seen: Seen) -> Answer:
        document = json.loads(seen.body)
        parts = [document["config"], *document["layers"]] if "layers" in document else []
        known = {digest for of, digest in self._registry.manifests if of == repository}
        missing = [part for part in parts if part["digest"] not in self._registry.blobs]
        missing += [part for part in document.get("manifests", []) if part["digest"] not in known]
        if missing:
            return error(400, "MANIFEST_BLOB_UNKNOWN")
        digest = self._registry.put_manifest(repository, seen.body, name, seen.headers["content-type"])
        return 201, {"Location": f"/v2/{repository}/manifests/{digest}", "Docker-Content-Digest": digest}, b""

    def _list(self, path: str, query: dict[str, list[str]]) -> Answer:
        """A page of repositories, or of tags."""
        if path == "/v2/_catalog":
            key, names = "repositories", {repository for repository, _ in self._registry.manifests}
        else:
            wanted = path.removeprefix("/v2/").removesuffix("/tags/list")
            key = "tags"
            names = {tag for of, tag in self._registry.manifests if of == wanted and ":" not in tag}
            if not names:
                return error(404, "NAME_UNKNOWN")
        after = query.get("last", [""])[0]
        left = sorted(name for name in names if name > after)
        headers = {}
        if len(left) > PAGE:
            headers["Link"] = f'<{path}?{urlencode({"last": left[PAGE - 1], "n": PAGE})}>; rel="next"'
        return 200, headers, json.dumps({key: left[:PAGE]}).encode()
