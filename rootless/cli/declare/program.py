"""A program as a value: its name, its options and its commands. The package declares two of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rootless.cli.declare.command import Command
from rootless.cli.declare.options import Option


@dataclass(frozen=True)
class Program:
    """One command line.

    ``root_options`` stand before the command's name, ``persistent_options`` before or after it. ``grammar`` is the
    module of ``rootless.cli`` that holds the generated table, ``version`` the handler of ``--version``.
    """

    name: str
    help: str
    epilog: str
    grammar: str
    version: str
    commands: tuple[Command, ...]
    persistent_options: tuple[Option, ...]
    root_options: tuple[Option, ...]
    groups: Mapping[str, str] = field(default_factory=dict)

    @property
    def global_options(self) -> tuple[Option, ...]:
        """All that may stand before the command's name."""
        return (*self.persistent_options, *self.root_options)
