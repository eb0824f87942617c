"""The installed command: started without the site module, by whatever tool and through whatever link."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path

import pytest

from rootless import __version__
from tests.support.cli import CHECKOUT

VERSION = f"rootless version {__version__}\n"

# Packages of the interpreter that runs the tests: an environment made here gets them by a .pth file, which is read
# only once an import is not found without it.
PACKAGES = [path for path in sys.path if path.endswith("-packages")]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of this checkout."""
    target = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(target)]
    subprocess.run(command, cwd=CHECKOUT, check=True, capture_output=True)
    (built,) = target.glob("*.whl")
    return built


def site_packages(prefix: Path) -> Path:
    (found,) = prefix.glob("lib/python3*/*-packages")
    return found


def by_pip(prefix: Path, wheel: Path) -> None:
    venv.create(prefix, with_pip=False, symlinks=True)
    pip = [sys.executable, "-m", "pip", "--python", str(prefix / "bin" / "python")]
    subprocess.run([*pip, "install", "--quiet", "--no-deps", "--no-index", str(wheel)], check=True)


def by_uv(prefix: Path, wheel: Path) -> None:
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if uv is None:
        pytest.skip("needs uv: pip install uv")
    environment = {**os.environ, "UV_CACHE_DIR": str(prefix.parent / "uv-cache"), "UV_NO_CONFIG": "1"}
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(prefix)], check=True, env=environment)
    install = [uv, "pip", "install", "--quiet", "--no-deps", "--no-index", "--python", str(prefix / "bin" / "python")]
    subprocess.run([*install, str(wheel)], check=True, env=environment)


@pytest.fixture(scope="module", params=[by_pip, by_uv])
def prefix(request: pytest.FixtureRequest, wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment into which the wheel was installed; its name has a blank."""
    made = tmp_path_factory.mktemp("environment") / "an environment"
    install: Callable[[Path, Path], None] = request.param
    install(made, wheel)
    packages = site_packages(made)
    # Python's site module executes such a line: the file tells whether that happened.
    marker = f"import os; open({str(made / 'site-was-imported')!r}, 'w').close()"
    (packages / "of-the-tests.pth").write_text("\n".join([*PACKAGES, marker]) + "\n")
    return made


@pytest.fixture(autouse=True)
def no_marker(request: pytest.FixtureRequest) -> None:
    if "prefix" in request.fixturenames:
        (request.getfixturevalue("prefix") / "site-was-imported").unlink(missing_ok=True)


def site_was_imported(prefix: Path) -> bool:
    return (prefix / "site-was-imported").exists()


def output(*command: str | Path, **options: object) -> str:
    environment = {"PATH": "/usr/bin:/bin", "HOME": os.environ.get("HOME", "/"), "PYTHONPATH": "/nonexistent"}
    settings = {"env": environment, "check": True, "stdout": subprocess.PIPE, "text": True, **options}
    return str(subprocess.run([str(word) for word in command], **settings).stdout)  # type: ignore[call-overload]


def test_starts_without_site(prefix: Path) -> None:
    subprocess.run([prefix / "bin" / "python", "-c", "pass"], check=True)
    assert site_was_imported(prefix), "the measure does not work"
    (prefix / "site-was-imported").unlink()
    assert output(prefix / "bin" / "rootless", "--version") == VERSION
    assert not site_was_imported(prefix)


def test_found_through_path(prefix: Path) -> None:
    environment = {"PATH": f"{prefix / 'bin'}:/usr/bin:/bin"}
    assert output("sh", "-c", "rootless --version", env=environment) == VERSION
    assert output("rootless", "--version", env=environment) == VERSION
    assert output("sh", "rootless", "--version", cwd=prefix / "bin") == VERSION
    assert output("./rootless", "--version", cwd=prefix / "bin") == VERSION
    assert not site_was_imported(prefix)


def test_through_a_link_as_pipx_makes_it(prefix: Path, tmp_path: Path) -> None:
    (tmp_path / "rootless").symlink_to(prefix / "bin" / "rootless")
    assert output(tmp_path / "rootless", "--version") == VERSION
    assert not site_was_imported(prefix)


def test_called_podman_it_answers_as_podman(prefix: Path, tmp_path: Path) -> None:
    (tmp_path / "podman").symlink_to(prefix / "bin" / "rootless")
    name, _, number = output(tmp_path / "podman", "--version").strip().rpartition(" ")
    assert name == "podman version"
    assert number.startswith("5.8.")


def test_the_runtime_has_a_name_of_its_own(prefix: Path, tmp_path: Path) -> None:
    first = f"rootless-oci version {__version__}\nspec: 1."
    assert output(prefix / "bin" / "rootless-oci", "--version").startswith(first)
    environment = {"PATH": f"{prefix / 'bin'}:/usr/bin:/bin"}
    assert output("sh", "-c", "rootless-oci --version", env=environment).startswith(first)
    for name in ("crun", "rootless-oci"):
        (tmp_path / name).symlink_to(prefix / "bin" / "rootless-oci")
        assert output(tmp_path / name, "--version").startswith(first)
    assert not site_was_imported(prefix)


def test_the_runtime_without_an_environment(prefix: Path, tmp_path: Path) -> None:
    """As conmon's clean-up process starts it: one variable, and no PATH."""
    tmp_path.chmod(0o700)
    environment = {"XDG_RUNTIME_DIR": str(tmp_path)}
    assert output(prefix / "bin" / "rootless-oci", "delete", "--force", "nope", env=environment) == ""


def test_arguments_are_handed_on_unchanged(prefix: Path) -> None:
    command = [str(prefix / "bin" / "rootless"), "run", "--no such", "*"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 125
    assert result.stderr.startswith("Error: unknown flag: --no such\n")


def test_other_package_directories_are_found_when_needed(prefix: Path) -> None:
    """Typer is not in this environment itself: the help needs the .pth file, and so the work of site."""
    assert output(prefix / "bin" / "rootless", "run", "--help").startswith("Usage: rootless run [OPTIONS] IMAGE")
    assert site_was_imported(prefix)


def test_without_an_interpreter_beside_it(wheel: Path, tmp_path: Path) -> None:
    """As ``pip install --user`` does it: the packages are in the prefix, the interpreter is the system's."""
    python = f"python{sys.version_info.major}.{sys.version_info.minor}"
    if not os.access(f"/usr/bin/{python}", os.X_OK):
        pytest.skip(f"needs /usr/bin/{python}")
    made = tmp_path / "made"
    by_pip(made, wheel)
    for interpreter in (made / "bin").glob("python*"):
        interpreter.unlink()
    assert output(made / "bin" / "rootless", "--version") == VERSION


def test_editable_installation(wheel: Path, tmp_path: Path) -> None:
    """The packages are elsewhere, named by a .pth file: the interpreter has to look for them."""
    made = tmp_path / "made"
    by_pip(made, wheel)
    for package in ("rootless", "storage"):
        shutil.rmtree(site_packages(made) / package)
    (site_packages(made) / "editable.pth").write_text(f"{CHECKOUT}\n")
    assert output(made / "bin" / "rootless", "--version") == VERSION
    (tmp_path / "podman").symlink_to(made / "bin" / "rootless")
    assert output(tmp_path / "podman", "--version").startswith("podman version 5.8.")
    assert output(made / "bin" / "rootless-oci", "--version").startswith("rootless-oci version ")
