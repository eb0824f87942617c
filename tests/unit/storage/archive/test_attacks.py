"""Hostile archives unpacked without any privilege: nothing outside the tree is touched, whatever they say."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage.errors import StorageError
from tests.support import attacks, layers
from tests.support.canary import Canary

SINGLE = [attack for attack in attacks.ALL if len(attack.layers) == 1]


@pytest.mark.parametrize("attack", SINGLE, ids=str)
def test_attack(attack: attacks.Attack, tmp_path: Path) -> None:
    canary = Canary(tmp_path / "canary")
    aimed = attacks.aimed(attack, str(canary.root))
    tree = tmp_path / "tree"
    try:
        layers.extract(layers.archive(aimed.layers[0]), tree)
        refused = False
    except StorageError as error:
        refused = True
        assert "\n" not in error.message and "\x1b" not in error.message
    canary.check()
    assert refused == (aimed.expected is None)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["canary", "tree", "tree.owners"]
    if aimed.expected is not None:
        found = layers.listing(tree)
        assert {path: found.get(path) for path in aimed.expected} == aimed.expected
        assert not [path for path in aimed.absent if found.get(path, "hidden") != "hidden"]
