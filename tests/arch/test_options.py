"""No option is accepted and ignored: the engine or a handler reads each one by its key."""

from __future__ import annotations

import pytest

from rootless.cli.declare import OCI, PROGRAMS
from tests.support.cli import CHECKOUT

READERS = ("build", "cli", "engine", "registry")
SOURCES = [path for package in READERS for path in (CHECKOUT / "rootless" / package).rglob("*.py")]

# Declarations and the generated table name every option; that is no use of it.
USES = "\n".join(
    path.read_text() for path in SOURCES if "declare" not in path.parts and not path.name.endswith("grammar.py")
)

KEYS = sorted(
    {
        (f"{program.name} {command.paths[0]}", option.key)
        for program in PROGRAMS
        for command in program.commands
        for option in command.options
    }
    | {(OCI.name, option.key) for option in OCI.global_options}
)


@pytest.mark.parametrize(("command", "key"), KEYS)
def test_option_is_read(command: str, key: str) -> None:
    assert f'"{key}"' in USES, f"nothing reads --{key.replace('_', '-')} of {command}"
