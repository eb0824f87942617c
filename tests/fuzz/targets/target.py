"""What a target is."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rootless.errors import RootlessError
from storage.errors import StorageError

REGRESSIONS = Path(__file__).parents[1] / "regressions"
"""A directory a target, with the inputs that once were findings."""
_WORD = re.compile(rb'"[A-Za-z][\w./+-]*"|[A-Za-z][\w.-]+')
OURS = (RootlessError, StorageError)


class Target:
    """``function`` is given bytes of all kinds, first of all the ``seeds``.

    It may raise the errors of the program, whose messages must fit on a line of a terminal, and ``also``. The words of
    the seeds are what the fuzzer puts in besides single bytes.
    """

    def __init__(
        self, function: Callable[[bytes], None], seeds: list[bytes], also: tuple[type[Exception], ...] = ()
    ) -> None:
        self.name = function.__name__
        self.seeds = seeds
        self.words = sorted({word for seed in seeds for word in _WORD.findall(seed[:4096])})[:200]
        self._function = function
        self._expected = also

    def findings(self) -> list[Path]:
        """Inputs that once were findings."""
        return sorted((REGRESSIONS / self.name).glob("*"))

    def run(self, data: bytes) -> None:
        """One input. AssertionError, or whatever the code did not expect, is a finding."""
        try:
            self._function(data)
        except OURS as error:
            text = str(error)
            assert len(text) < 2000, f"a message of {len(text)} characters"
        except self._expected:
            return


def text(data: bytes) -> str:
    """The bytes as a word of the command line."""
    return data.decode("utf-8", "surrogateescape").replace("\0", "")


def packed(*values: Any) -> list[bytes]:
    """Seeds: each value as JSON."""
    return [json.dumps(value).encode() for value in values]
