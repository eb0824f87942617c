"""``image trust``: showing the policy, and changing the user's own."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

from rootless.engine.images.trust import policy as policies
from rootless.engine.images.trust import registries_d
from rootless.engine.images.trust.check import keys_of
from rootless.engine.images.trust.policy import ACCEPT, REJECT, SIGNED_BY, SIGSTORE, Requirement
from rootless.errors import RootlessError, UsageError
from storage import atomic, jsonfast, reference
from storage.errors import StorageError

_SHOWN = {ACCEPT: "accept", REJECT: "reject", SIGNED_BY: "signed", SIGSTORE: "sigstoreSigned"}
_TYPES = {"accept": ACCEPT, ACCEPT: ACCEPT, REJECT: REJECT, SIGNED_BY: SIGNED_BY, SIGSTORE: SIGSTORE}


def raw(path: str = "") -> str:
    """The text of the policy. Raises PolicyError if there is none."""
    where = path or policies.path()
    try:
        with open(where, encoding="utf-8", errors="replace") as file:
            return file.read(policies.MAX_BYTES)
    except OSError as error:
        hint = "'rootless image trust set' makes one; without any every image is accepted"
        raise policies.PolicyError(f"cannot read {where}: {error.strerror}", hint) from None


def show(path: str = "", registries: str = "", scope: str = "") -> list[dict[str, Any]]:
    """A row for each requirement, in the shape of ``podman image trust show --json``; of ``scope`` alone if given.

    ``path`` is another policy than that which counts, ``registries`` another directory than ``registries.d``.
    """
    policy = policies.load(path)
    if policy is None:
        policy = policies.Policy(path or policies.user_path(), [Requirement(ACCEPT, {}, {})], {})
    rows = [
        _row(requirement, {"transport": "all", "name": "* (default)", "repo_name": "default"})
        for requirement in policy.default
    ]
    for transport, scopes in policy.transports.items():
        for name, requirements in scopes.items():
            about = {"transport": "repository" if transport == "docker" else transport, "name": name, "repo_name": name}
            if transport == "docker" and name and not name.startswith("*."):
                about["sigstore"] = _store_of(name, registries)
            about = {key: value for key, value in about.items() if value}
            rows += [_row(requirement, about) for requirement in requirements]
    if scope:
        rows = [row for row in rows if row.get("repo_name") == scope]
        if not rows:
            raise RootlessError(f"cannot show {scope}: the policy does not name it", "leave it out to see all")
    return rows


def _store_of(name: str, registries: str) -> str:
    """Where the signatures of a scope are; empty where nothing is configured for it."""
    try:
        full = reference.parse(name if "/" in name else f"{name}/x")
    except StorageError:
        return ""
    return registries_d.configured(full, registries)


def _row(requirement: Requirement, about: Mapping[str, Any]) -> dict[str, Any]:
    row = {**about, "type": _SHOWN[requirement.kind]}
    if requirement.wants_signature:
        fields = requirement.fields
        row["keys"] = fields.get("keyPaths") or [fields.get("keyPath", "inline")]
        if requirement.kind == SIGNED_BY:
            row["gpg_id"] = ", ".join(_owners(requirement)) or "N/A"
    return row


def _owners(requirement: Requirement) -> list[str]:
    """The mail addresses, else the ids, of OpenPGP keys; none where they or gpg cannot be had."""
    program = shutil.which("gpg")
    try:
        keys = keys_of(requirement)
    except RootlessError:
        return []
    if program is None:
        return []
    found: list[str] = []
    for key in keys:
        with tempfile.TemporaryDirectory() as home:  # gpg will have one; it is not to be the user's
            done = subprocess.run(
                [program, "--batch", "--no-options", "--homedir", home, "--with-colons", "--show-keys"], input=key,
                capture_output=True, check=False, env={"PATH": os.defpath, "LC_ALL": "C"},
            )  # fmt: skip
        rows = [line.split(":") for line in done.stdout.decode("utf-8", "replace").splitlines()]
        names = [row[9] for row in rows if row[0] == "uid" and len(row) > 9]
        mails = [name.rpartition("<")[2].rstrip(">") for name in names]
        found += mails or [row[4] for row in rows if row[0] == "pub" and len(row) > 4]
    return found


def change(scope: str, kind: str, keys: Sequence[str], path: str = "") -> str:
    """Have the policy ask ``kind`` of the images of ``scope`` (``default``: of all that no scope names).

    The user's own policy is written, beginning with the one that counted before; its path. Raises UsageError,
    PolicyError.
    """
    if kind not in _TYPES:
        raise UsageError(f"unknown type {kind[:40]!r}", "use accept, reject, signedBy or sigstoreSigned")
    kind = _TYPES[kind]
    if kind in (SIGNED_BY, SIGSTORE) and not keys:
        raise UsageError(f"cannot set {kind} without a key", "name the file of a public key with --pubkeysfile")
    if kind in (ACCEPT, REJECT) and keys:
        raise UsageError(f"cannot use --pubkeysfile with the type {kind}", "leave it out")
    requirements = [_requirement(kind, os.path.abspath(key)) for key in keys] or [{"type": kind}]
    target = path or policies.user_path()
    document = _document(target)
    if scope == "default":
        document["default"] = requirements
    else:
        document.setdefault("transports", {}).setdefault("docker", {})[scope] = requirements
    data = jsonfast.dumps(document).encode("ascii")
    policies.parse(data, target)
    try:
        os.makedirs(os.path.dirname(os.path.abspath(target)), 0o700, exist_ok=True)
    except OSError as error:
        raise RootlessError(f"cannot write {target}: {error.strerror}") from None
    atomic.write(target, _pretty(document))
    return target


def _requirement(kind: str, key: str) -> dict[str, str]:
    if not os.path.isfile(key):
        raise UsageError(f"cannot use the key {key}: no such file")
    return {"type": kind, **({"keyType": "GPGKeys"} if kind == SIGNED_BY else {}), "keyPath": key}


def _document(target: str) -> dict[str, Any]:
    """The policy to begin with: ``target``, else the one that counts, else one that accepts all."""
    for path in dict.fromkeys((target, policies.path())):
        if policies.load(path) is not None:
            with open(path, "rb") as file:
                found: dict[str, Any] = jsonfast.loads_strict(file.read(policies.MAX_BYTES))
            return found
    return {"default": [{"type": ACCEPT}]}


def _pretty(document: object) -> bytes:
    import json

    return json.dumps(document, indent=4).encode("ascii") + b"\n"
