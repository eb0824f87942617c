"""Which image of an index is chosen."""

from __future__ import annotations

from typing import Any

import pytest

from rootless.engine.images.platform import Wanted, choose, wanted
from rootless.errors import RootlessError, UsageError
from storage import oci


def index(*platforms: str) -> Any:
    entries = []
    for number, text in enumerate(platforms):
        entry: dict[str, Any] = {"mediaType": oci.MANIFEST, "digest": f"sha256:{number:064}", "size": 1}
        if text:
            name, architecture, *variant = text.split("/")
            entry["platform"] = {"os": name, "architecture": architecture}
            if variant:
                entry["platform"]["variant"] = variant[0]
        entries.append(entry)
    return oci.check_index({"schemaVersion": 2, "manifests": entries})


def chosen(platforms: list[str], platform: str) -> str:
    """The platform that is chosen out of ``platforms``."""
    entry = choose(index(*platforms), wanted({"platform": platform}), "app")
    return platforms[int(entry["digest"].partition(":")[2])]


@pytest.mark.parametrize(
    ("platforms", "platform", "expected"),
    [
        (["linux/arm64", "linux/amd64"], "linux/amd64", "linux/amd64"),
        (["linux/amd64/v3", "linux/amd64"], "linux/amd64", "linux/amd64"),
        (["linux/amd64", "linux/amd64/v3"], "linux/amd64/v3", "linux/amd64/v3"),
        (["linux/arm64/v8"], "linux/arm64", "linux/arm64/v8"),
        (["linux/arm64"], "linux/arm64/v8", "linux/arm64"),
        (["linux/arm64/v8"], "linux/aarch64", "linux/arm64/v8"),
        (["linux/arm/v5", "linux/arm/v7", "linux/arm/v6"], "linux/arm/v7", "linux/arm/v7"),
        (["linux/arm/v5", "linux/arm/v6"], "linux/arm/v7", "linux/arm/v6"),
        (["linux/arm/v7", "linux/arm/v6"], "linux/arm/v6", "linux/arm/v6"),
        (["windows/amd64", "linux/amd64"], "linux/amd64", "linux/amd64"),
        (["unknown/unknown", "linux/amd64"], "linux/amd64", "linux/amd64"),
        ([""], "linux/amd64", ""),
    ],
)
def test_choice(platforms: list[str], platform: str, expected: str) -> None:
    assert chosen(platforms, platform) == expected


@pytest.mark.parametrize(
    ("platforms", "platform"),
    [
        (["linux/arm64"], "linux/amd64"),
        (["linux/arm/v7"], "linux/arm/v6"),
        (["linux/amd64"], "linux/amd64/v3"),
        (["", ""], "linux/amd64"),
        ([], "linux/amd64"),
    ],
)
def test_no_choice(platforms: list[str], platform: str) -> None:
    with pytest.raises(RootlessError, match="no image found in image index"):
        chosen(platforms, platform)


def test_the_machine_itself_is_the_default() -> None:
    host = oci.host_platform()
    found = wanted({})
    assert (found.os, found.architecture, found.explicit) == (host["os"], host["architecture"], False)
    assert found.matches({"os": host["os"], "architecture": host["architecture"]})


def test_parts() -> None:
    assert wanted({"arch": "arm", "variant": "v6"}) == Wanted("linux", "arm", "v6", True)
    assert wanted({"os": "windows", "arch": "amd64"}) == Wanted("windows", "amd64", "", True)
    assert str(wanted({"platform": "linux/arm/v7"})) == "linux/arm/v7"


@pytest.mark.parametrize(
    "values", [{"platform": "linux//v7"}, {"platform": "a/b/c/d"}, {"platform": "linux/amd64", "arch": "arm64"}]
)
def test_bad_flags(values: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        wanted(values)
