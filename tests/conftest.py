"""What every test run begins and ends with: the machine's capabilities, and the skips counted by what they lacked."""

from __future__ import annotations

import collections
import functools
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from tests.support import capabilities, figures, rows

pytest_plugins = ["tests.support.fixtures", "tests.support.matrix_fixtures"]

# The checkout may belong to somebody else, so nothing is written there; a shared machine has no use for deadlines; and
# in CI a failure must be one of the change, not of the dice.
hypothesis.settings.register_profile(
    "rootless",
    database=None,
    deadline=None,
    derandomize=bool(os.environ.get("CI")),
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("rootless")

UNPRIVILEGED = {Path(__file__).parent / name for name in ("integration", "attacks", "faults")}
"""What is there is about a user without privileges, unless it is marked ``as_root``."""


def pytest_configure(config: pytest.Config) -> None:
    """Give a user without a login session a runtime directory, as the peers' tools insist on one; hear Ctrl-C.

    A shell has what it starts in the background ignore SIGINT, and so would all that the tests start.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if not os.access(os.environ.get("XDG_RUNTIME_DIR", "/nonexistent"), os.W_OK):
        runtime = tempfile.mkdtemp(prefix="rootless-run-")
        os.environ["XDG_RUNTIME_DIR"] = runtime
        config.add_cleanup(functools.partial(shutil.rmtree, runtime, ignore_errors=True))


TIMED = {Path(__file__).parent / name for name in ("integration", "conformance", "uml", "faults")}
"""What is there waits for other processes, with a bound that a machine which does much else can exceed."""


def pytest_report_header(config: pytest.Config) -> list[str]:
    """The machine's capabilities, each found by trying it; the tests that need an absent one are skipped."""
    user = "root" if os.getuid() == 0 else f"uid {os.getuid()}"
    kernel = os.uname()
    machine = f"machine: {kernel.sysname} {kernel.release} {kernel.machine}, tests run as {user}"
    return [f"{machine}; it gives (+) or not (-)", *capabilities.report()]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Refuse a misspelt capability before any test runs; in CI let a timed test that failed be tried once more.

    Which those were is told at the end. An attack must fail at each try, and a figure is measured once.
    """
    again = bool(os.environ.get("CI")) and config.pluginmanager.hasplugin("rerunfailures")
    for item in items:
        attack_or_figure = rows.of_test(item.nodeid) or "figure" in getattr(item, "fixturenames", ())
        if again and TIMED.intersection(item.path.parents) and not attack_or_figure:
            item.add_marker(pytest.mark.flaky(reruns=1))
        for marker in item.iter_markers("needs"):
            unknown = set(marker.args) - set(capabilities.names())
            if unknown:
                raise pytest.UsageError(f"{item.nodeid} needs unknown capabilities: {', '.join(sorted(unknown))}")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose capability is absent, and name it; begin each with the usual file creation mask."""
    os.umask(0o022)  # opening a store closes it
    wants_root = item.get_closest_marker("as_root") is not None
    if wants_root and os.getuid() != 0:
        pytest.skip("needs root: run it by `python -m tests.support.as_root pytest -m as_root`")
    if not wants_root and os.getuid() == 0 and UNPRIVILEGED.intersection(item.path.parents):
        pytest.skip("needs an unprivileged user: run it by `python -m tests.support.as_user pytest`")
    for marker in item.iter_markers("needs"):
        for name in marker.args:
            finding = capabilities.find(name)
            if not finding.present:
                pytest.skip(f"needs {name}: {finding.detail}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Count the skipped tests by the capability they lacked, those of known attacks by their rows; tell figures."""
    counted: collections.Counter[str] = collections.Counter()
    for report in terminalreporter.stats.get("skipped", []):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        counted[reason.removeprefix("Skipped: ").partition(":")[0]] += 1
    if counted:
        terminalreporter.section("skipped, by what the machine lacks")
        for reason, count in counted.most_common():
            terminalreporter.line(f"{count:5}  {reason}")
    tried = rows.count(terminalreporter.stats)
    if tried:
        terminalreporter.line(f"security rows: {rows.summary(tried)}")
    told: list[figures.Figure] = []
    for report in [*terminalreporter.stats.get("passed", []), *terminalreporter.stats.get("failed", [])]:
        for name, value in getattr(report, "user_properties", ()):
            if name == "figure":
                terminalreporter.line(str(value))
                told += [value] if isinstance(value, figures.Figure) else []
    figures.leave(told, tried)


@pytest.fixture(autouse=True)
def _no_leaked_settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keep the caller's registry credentials and engine settings out of every test."""
    for variable in ("REGISTRY_AUTH_FILE", "DOCKER_CONFIG", "CONTAINERS_CONF", "CONTAINERS_REGISTRIES_CONF"):
        monkeypatch.delenv(variable, raising=False)
    yield
