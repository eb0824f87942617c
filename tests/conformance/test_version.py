"""config.md, "Specification version"."""

from __future__ import annotations

import pytest

from tests.conformance.support import Box


@pytest.mark.parametrize("version", ["1.0.0", "1.0.2-dev", "1.1.0+dev", "1.2.1", "1.3.0"])
def test_accepted_version(box: Box, version: str) -> None:
    box.config["ociVersion"] = version
    assert box.output("echo", "ran") == "ran\n"


@pytest.mark.parametrize("version", ["2.0.0", "0.1.0", "nonsense", ""])
def test_refused_version(box: Box, version: str) -> None:
    box.config["ociVersion"] = version
    box.refused()


def test_missing_version(box: Box) -> None:
    del box.config["ociVersion"]
    box.refused()


def test_unknown_properties_are_ignored(box: Box) -> None:
    box.config["org.example.new"] = {"x": 1}
    box.linux["unknownProperty"] = [1]
    box.process["unknownProperty"] = "x"
    assert box.output("echo", "ran") == "ran\n"


def test_missing_process_is_told_at_the_latest_by_start(box: Box) -> None:
    del box.config["process"]
    box.write()
    if box.call("create", "--bundle", str(box.bundle), box.id).code == 0:
        box.fails("start", box.id)
