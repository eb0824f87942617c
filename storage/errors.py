"""The error of the storage library."""

from __future__ import annotations


class StorageError(Exception):
    """The store cannot do what was asked.

    ``message`` is one line; ``hint`` names the command or setting that mends it (empty: there is none).
    """

    exit_code = 125

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
