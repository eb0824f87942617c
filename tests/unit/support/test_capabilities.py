"""The probes themselves: each answers, and says why."""

from __future__ import annotations

import pytest

from tests.support import capabilities


@pytest.mark.parametrize("name", capabilities.names())
def test_every_probe_answers_with_a_detail(name: str) -> None:
    finding = capabilities.find(name)
    assert isinstance(finding.present, bool)
    assert finding.detail and "\n" not in finding.detail
    assert capabilities.purpose(name)
