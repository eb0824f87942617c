"""Build the manual: ``python -m docs.generate [--site DIR] [--man DIR] [--check]``.

``--site`` builds the site with mkdocs from the pages of this directory and those made from the declarations of the
command line; every dead link is an error. ``--man`` writes the man pages, ready for ``MANPATH``. ``--check`` has
mandoc lint them, where it is installed.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from docs import manual
from rootless.cli.declare import PROGRAMS

HERE = Path(__file__).parent
CONFIGURATION = HERE / "mkdocs.yml"


def write_man(target: Path) -> list[Path]:
    """Write every man page below ``target/man1``; the files."""
    directory = target / f"man{manual.SECTION}"
    directory.mkdir(parents=True, exist_ok=True)
    files = []
    for name, text in manual.man_files().items():
        files.append(directory / name)
        files[-1].write_text(text)
    return files


def write_site(target: Path) -> None:
    """Build the site in ``target``. Raises SystemExit at a warning of mkdocs: a dead link, an unlisted page."""
    from mkdocs.commands.build import build
    from mkdocs.config import load_config
    from mkdocs.exceptions import Abort

    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    with tempfile.TemporaryDirectory(prefix="rootless-docs-") as work:
        sources = Path(work)
        for page in HERE.rglob("*.md"):
            copy = sources / page.relative_to(HERE)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(page, copy)
        commands = sources / "commands"
        commands.mkdir()
        sections = []
        for program in PROGRAMS:
            listed = []
            for command in manual.pages(program):
                (commands / f"{command.file}.md").write_text(manual.markdown(command))
                listed.append({command.title: f"commands/{command.file}.md"})
            sections.append({f"Commands of {program.name}": listed})
        configuration = load_config(str(CONFIGURATION), docs_dir=work, site_dir=str(target.absolute()), strict=True)
        assert configuration.nav is not None
        configuration.nav = [*configuration.nav, *sections]
        try:
            build(configuration)
        except Abort as error:
            raise SystemExit(str(error)) from error


def lint(files: list[Path]) -> int:
    """Have mandoc read the man pages; the number of pages that it objects to."""
    if shutil.which("mandoc") is None:
        print("mandoc is not installed: the man pages are not linted", file=sys.stderr)
        return 0
    directory = files[0].parents[1]
    objections = 0
    for file in files:
        command = ["mandoc", "-T", "lint", "-W", "warning", f"{file.parent.name}/{file.name}"]
        done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            print(done.stdout, done.stderr, file=sys.stderr)
            objections += 1
    print(f"{len(files)} man pages, mandoc objects to {objections}")
    return objections


def main() -> int:
    """Do what the command line asks for; the exit code."""
    parser = argparse.ArgumentParser(description="Build the manual.")
    parser.add_argument("--site", type=Path, metavar="DIR", help="build the site here")
    parser.add_argument("--man", type=Path, metavar="DIR", help="write the man pages to DIR/man1")
    parser.add_argument("--check", action="store_true", help="lint the man pages")
    options = parser.parse_args()
    if options.site:
        write_site(options.site)
    objections = 0
    if options.man:
        files = write_man(options.man)
        objections = lint(files) if options.check else 0
    return 1 if objections else 0


if __name__ == "__main__":
    sys.exit(main())
