"""The images and registries that other tests stand on are what skopeo says they are."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.support.registry import Registry

pytestmark = pytest.mark.needs("skopeo", "docker-registry")


def inspect(*arguments: str) -> dict[str, object]:
    done = subprocess.run(["skopeo", "inspect", *arguments], capture_output=True, text=True, check=True)
    document = json.loads(done.stdout)
    assert isinstance(document, dict)
    return document


def test_busybox_is_pushed_and_read_back(registry: Registry, busybox_layout: Path) -> None:
    reference = registry.push(busybox_layout, "support/busybox")
    document = inspect("--tls-verify=false", f"docker://{reference}")
    assert len(document["Layers"]) == 2  # type: ignore[arg-type]
    assert document["Labels"] == {"maker": "tests"}


def test_basic_registry_refuses_a_stranger(basic_registry: Registry, busybox_layout: Path) -> None:
    reference = basic_registry.push(busybox_layout, "support/busybox", docker_format=True)
    with pytest.raises(subprocess.CalledProcessError) as refusal:
        inspect("--tls-verify=false", f"docker://{reference}")
    assert "authentication required" in refusal.value.stderr


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_debian_has_four_layers(debian_layout: Path) -> None:
    document = inspect(f"oci:{debian_layout}:latest")
    assert len(document["Layers"]) == 4  # type: ignore[arg-type]
