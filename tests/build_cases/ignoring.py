"""What is left out of the context."""

from __future__ import annotations

from tests.build_cases.case import Case

ALL = "FROM localhost/box\nCOPY . /all/\n"
TREE = {
    "a.txt": "1", "b.md": "2", "README.md": "3", "src/main.c": "4", "src/main.o": "5", "src/deep/x.o": "6",
    "node_modules/m/i.js": "7", "src/node_modules/n/i.js": "8", ".git/HEAD": "9", "docs/secret.txt": "10",
    "docs/open.txt": "11",
}  # fmt: skip


def ignoring(name: str, patterns: str, file: str = ".dockerignore", **more: object) -> Case:
    """A case that copies all of a context with these patterns."""
    return Case(name, ALL, {**TREE, file: patterns}, **more)  # type: ignore[arg-type]


CASES = (
    ignoring("ignore-names", "a.txt\nsrc\n"),
    ignoring("ignore-containerignore", "*.md\n", ".containerignore"),
    Case("ignore-both", ALL, {**TREE, ".dockerignore": "*.md\n", ".containerignore": "*.txt\n"}),
    ignoring("ignore-wildcards", "*.txt\n*/*.o\n"),
    ignoring("ignore-any-depth", "**/*.o\n**/node_modules\n"),
    ignoring("ignore-exceptions", "*.md\n!README.md\n"),
    ignoring("ignore-all-but", "*\n!src\nsrc/*.o\n"),
    ignoring("ignore-exception-in-directory", "docs\n!docs/open.txt\n"),
    ignoring("ignore-order", "!README.md\n*.md\n"),
    ignoring("ignore-comments", "# a\n\n#.git\n  docs  \n/a.txt\n"),
    ignoring("ignore-everything", "**\n"),
    ignoring("ignore-itself", ".dockerignore\nContainerfile\n"),
    ignoring("ignore-question", "?.txt\nsr[a-d]\n"),
    Case("ignore-copied-file", "FROM localhost/box\nCOPY a.txt /a\n", {**TREE, ".dockerignore": "a.txt\n"},
         fails="a.txt"),
    Case("ignore-wildcard-source", "FROM localhost/box\nCOPY *.txt docs/*.txt /to/\n",
         {**TREE, ".dockerignore": "docs/s*\n"}),
    Case("ignore-not-from-stages",
         "FROM localhost/box AS s\nRUN echo 1 >/a.txt\nFROM localhost/box\nCOPY --from=s /a.txt /b\n",
         {".dockerignore": "*.txt\n"}),
    Case("ignore-flag", ALL, {**TREE, ".dockerignore": "*.md\n", "my.ignore": "*.txt\n"},
         flags=("--ignorefile", "my.ignore")),
    ignoring("ignore-bad-pattern", "a[\n", fails="a["),
)
