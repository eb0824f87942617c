"""Fixtures of the tests in the machine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.uml.inside.session import Session


@pytest.fixture
def rootless() -> Iterator[Session]:
    """The program; containers that the test leaves behind are removed."""
    session = Session()
    yield session
    session.run("rm", "--all", "--force", "--time", "0")
