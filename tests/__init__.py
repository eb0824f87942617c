"""Tests: unit (no privilege), arch (rules), integration (the real kernel), fuzz, bench."""
