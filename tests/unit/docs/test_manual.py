"""The manual has a page for every command, and says what the declarations say."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from docs import generate, manual
from rootless.cli.declare import PROGRAMS
from rootless.cli.declare.command import Command
from rootless.cli.declare.program import Program

PAGES = {page.title: page for program in PROGRAMS for page in manual.pages(program)}
COMMANDS = [(program, command) for program in PROGRAMS for command in program.commands if not command.hidden]


def test_every_command_and_group_has_a_page() -> None:
    groups = [f"{program.name} {group}" for program in PROGRAMS for group in program.groups]
    commands = [f"{program.name} {command.paths[0]}" for program, command in COMMANDS]
    assert set(PAGES) == {*(program.name for program in PROGRAMS), *groups, *commands}


def test_every_path_of_a_command_has_a_man_page() -> None:
    paths = [f"{program.name} {path}" for program, command in COMMANDS for path in command.paths]
    assert {f"{path.replace(' ', '-')}.1" for path in paths} <= set(manual.man_files())


@pytest.mark.parametrize(("program", "command"), COMMANDS, ids=lambda value: getattr(value, "name", ""))
def test_every_visible_option_is_in_both_forms(program: Program, command: Command) -> None:
    page = PAGES[f"{program.name} {command.paths[0]}"]
    markdown, roff = manual.markdown(page), manual.roff(page)
    for option in command.options:
        for name in () if option.hidden else option.names:
            assert name in markdown
            assert name.replace("-", "\\-") in roff


def test_text_is_never_a_request() -> None:
    page = manual.Page("x", "a summary", "", ".Do 'this' \\n or\t-that", examples=(".nf", "'br"))
    lines = manual.roff(page).splitlines()
    assert "\\&.Do \\(aqthis\\(aq \\en or\t\\-that" in lines
    assert "\\&.nf" in lines and "\\(aqbr" in lines


def test_mandoc_has_no_objection(tmp_path: Path) -> None:
    if shutil.which("mandoc") is None:
        pytest.skip("needs mandoc: not installed")
    assert generate.lint(generate.write_man(tmp_path)) == 0
