"""Fixtures that more than one test directory uses."""

from __future__ import annotations
