"""A package repository of Debian's form, written by hand."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from collections.abc import Mapping

from tests.build_cases.case import F


def package(name: str, version: str, files: Mapping[str, F]) -> tuple[bytes, str]:
    """A .deb, and its paragraph of the repository's Packages without the file's own fields."""
    fields = (
        f"Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: Some Body <some@body.example>\n"
        f"Description: a package of the tests\n")
    parts = {"debian-binary": b"2.0\n", "control.tar.gz": _tar({"control": F(fields)}), "data.tar.gz": _tar(files)}
    made = io.BytesIO(b"")
    made.write(b"!<arch>\n")
    for part, data in parts.items():
        made.write(f"{part:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(data):<10}`\n".encode())
        made.write(data + b"\n" * (len(data) % 2))
    return made.getvalue(), fields


def repository(packages: Mapping[str, Mapping[str, F]]) -> dict[str, bytes]:
    """The files of a flat repository that has these packages, all in version 1.0."""
    found: dict[str, bytes] = {}
    index = ""
    for name, files in packages.items():
        data, fields = package(name, "1.0", files)
        path = f"{name}_1.0_all.deb"
        found[path] = data
        index += f"{fields}Filename: ./{path}\nSize: {len(data)}\nSHA256: {hashlib.sha256(data).hexdigest()}\n\n"
    return {**found, "Packages": index.encode()}


def _tar(files: Mapping[str, F]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        above = sorted({part for path in files for part in _above(path)})
        for path in ["./", *(f"./{part}/" for part in above)]:
            info = tarfile.TarInfo(path)
            info.type, info.mode, info.mtime = tarfile.DIRTYPE, 0o755, 1_000_000_000
            archive.addfile(info)
        for path, file in files.items():
            data = file.data.encode() if isinstance(file.data, str) else file.data
            info = tarfile.TarInfo(f"./{path}")
            info.mode, info.size, info.mtime = file.mode, len(data), 1_000_000_000
            archive.addfile(info, io.BytesIO(data))
    return gzip.compress(buffer.getvalue(), mtime=0)


def _above(path: str) -> list[str]:
    parts = path.split("/")[:-1]
    return ["/".join(parts[: size + 1]) for size in range(len(parts))]
