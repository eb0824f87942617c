"""Errors are one line and a hint; never a traceback, never a control character."""

from __future__ import annotations

import errno
import os
import subprocess
import sys

import pytest

from rootless.cli import main as cli_main
from rootless.cli.report import report
from rootless.errors import CommandNotFoundError, RootlessError
from storage.errors import StorageError


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (RootlessError("cannot do it", "try that"), 125, "Error: cannot do it\nhint: try that\n"),
        (RootlessError("cannot do it"), 125, "Error: cannot do it\n"),
        (StorageError("no such image"), 125, "Error: no such image\n"),
        (CommandNotFoundError("no sh"), 127, "Error: no sh\n"),
        (KeyboardInterrupt(), 130, ""),
        (
            OSError(errno.ENOENT, "No such file or directory", "/x"),
            125,
            "Error: cannot use /x: No such file or directory\n",
        ),
        (
            ModuleNotFoundError("No module named 'typer'", name="typer"),
            125,
            "Error: cannot load the Python package typer\nhint: install the program again with its dependencies\n",
        ),
        (RootlessError("a\x1b[31m\nb\u202e"), 125, "Error: a\\x1b[31m\\nb\\u202e\n"),
        (RootlessError("name \udcff"), 125, "Error: name \\udcff\n"),
    ],
)
def test_report(error: BaseException, code: int, text: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert report(error) == code
    assert capfd.readouterr() == ("", text)


def test_full_disk_has_a_hint(capfd: pytest.CaptureFixture[str]) -> None:
    assert report(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/x")) == 125
    assert "hint: free some space" in capfd.readouterr().err


def test_a_fault_of_the_program_is_one_line_too(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("ROOTLESS_DEBUG", raising=False)
    monkeypatch.setattr(cli_main, "load", lambda handler: lambda *arguments: 1 // 0)
    assert cli_main.main(["ps"]) == 125
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("Error: internal error: ZeroDivisionError: ")
    assert "Traceback" not in err


def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("ROOTLESS_DEBUG", "1")
    monkeypatch.setattr(cli_main, "load", lambda handler: lambda *arguments: 1 // 0)
    assert cli_main.main(["ps"]) == 125
    assert "Traceback" in capfd.readouterr().err


def test_a_reader_that_has_gone_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "rootless", "--version"]
    result = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (result.returncode, result.stderr) == (141, b"")


def test_an_output_that_cannot_be_written_is_an_error() -> None:
    command = [sys.executable, "-m", "rootless", "--version"]
    with open("/dev/full", "wb") as full:
        result = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, check=False, text=True)
    assert result.returncode == 125
    assert result.stderr.startswith("Error: cannot write to standard output: No space left on device\n")


def test_half_a_line_is_completed(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv(cli_main.COMPLETION_VARIABLE, "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "rootless volume in")
    monkeypatch.setenv("COMP_CWORD", "2")
    assert cli_main.main([]) == 0
    assert capfd.readouterr() == ("inspect\n", "")


def test_no_command_prints_the_help_and_fails(capfd: pytest.CaptureFixture[str]) -> None:
    assert cli_main.main([]) == 125
    out, err = capfd.readouterr()
    assert "Usage: rootless [OPTIONS] COMMAND" in out
    assert err.startswith("Error: missing command\n")


def test_a_group_without_a_command_shows_what_is_in_it(capfd: pytest.CaptureFixture[str]) -> None:
    assert cli_main.main(["volume"]) == 125
    out, err = capfd.readouterr()
    assert "Usage: rootless volume [OPTIONS] COMMAND" in out and "prune" in out
    assert err == "Error: missing command\nhint: see 'rootless volume --help'\n"


def test_help_is_data(capfd: pytest.CaptureFixture[str]) -> None:
    assert cli_main.main(["run", "--help"]) == 0
    out, err = capfd.readouterr()
    assert "Usage: rootless run [OPTIONS] IMAGE [COMMAND [ARG...]]" in out
    assert err == ""


def test_single_implementations_are_named_when_debugging(capfd: pytest.CaptureFixture[str]) -> None:
    cli_main.main(["--runtime=crun", "--log-level=debug", "completion", "bash"])
    assert capfd.readouterr().err == "debug: --runtime has no effect: there is one implementation\n"
    cli_main.main(["--runtime=crun", "completion", "bash"])
    assert capfd.readouterr().err == ""


def test_unknown_log_level(capfd: pytest.CaptureFixture[str]) -> None:
    assert cli_main.main(["--log-level=loud", "completion", "bash"]) == 125
    assert capfd.readouterr().err.startswith("Error: unknown log level 'loud'\n")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script(shell: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli_main.main(["completion", shell]) == 0
    assert "_ROOTLESS_COMPLETE=complete_" + shell in capfd.readouterr().out
