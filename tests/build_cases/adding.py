"""ADD: archives, and what COPY does too."""

from __future__ import annotations

import bz2
import gzip
import lzma

from tests.build_cases.case import Case, D, F, L, Node, tar

TREE: dict[str, Node] = {
    "t": D(0o750, 3, 4), "t/a": F("a", 0o640, 5, 6), "t/l": L("a"), "t/x": F("#!", 0o755), "top": "t",
}  # fmt: skip
TAR = tar(TREE)

CASES = (
    Case("add-file", "FROM localhost/box\nADD a /a\n", {"a": "text"}),
    Case("add-directory", "FROM localhost/box\nADD dir /to\n", {"dir/a": "1", "dir/b/c": "2"}),
    Case("add-tar", "FROM localhost/box\nADD a.tar /to/\n", {"a.tar": TAR}),
    Case("add-tar-gz", "FROM localhost/box\nADD a.tar.gz /to\n", {"a.tar.gz": gzip.compress(TAR, mtime=0)}),
    Case("add-tar-bz2", "FROM localhost/box\nADD a.tbz /to/\n", {"a.tbz": bz2.compress(TAR)}),
    Case("add-tar-xz", "FROM localhost/box\nADD a.txz /to/\n", {"a.txz": lzma.compress(TAR)}),
    Case("add-tar-misnamed", "FROM localhost/box\nADD a.txt /to/\n", {"a.txt": gzip.compress(TAR, mtime=0)}),
    Case("add-tar-to-root", "FROM localhost/box\nADD a.tar /\n",
         {"a.tar": tar({"etc": D(0o755), "etc/new": "n", "opt": D(), "opt/b": "b"})}),
    Case("add-tar-over-files", "FROM localhost/box\nADD a.tar /\n",
         {"a.tar": tar({"etc/passwd": F("root:x:0:0::/:/bin/sh\n", 0o600)})}),
    Case("add-tar-chown", "FROM localhost/box\nADD --chown=8:9 a.tar /to/\n", {"a.tar": TAR}),
    Case("add-tar-chmod", "FROM localhost/box\nADD --chmod=700 a.tar /to/\n", {"a.tar": TAR}),
    Case("add-tar-wildcard", "FROM localhost/box\nADD *.tar /to/\n",
         {"a.tar": tar({"a": "1"}), "b.tar": tar({"b": "2"}), "c": "3"}),
    Case("add-tar-in-directory-stays", "FROM localhost/box\nADD dir /to\n", {"dir/a.tar": TAR}),
    Case("add-gz-of-no-tar", "FROM localhost/box\nADD a.gz /to/\n",
         {"a.gz": gzip.compress(b"no archive" * 100, mtime=0)}),
    Case("add-not-quite-tar", "FROM localhost/box\nADD a.tar /to/\n", {"a.tar": "ustar"}),
    Case("add-hardlinks-in-tar", "FROM localhost/box\nADD a.tar /to/\n", {"a.tar": TAR}),
    Case("add-chown", "FROM localhost/box\nADD --chown=user a /a\n", {"a": "1"}),
    Case("add-missing", "FROM localhost/box\nADD none /a\n", fails="none"),
    Case("add-wildcard", "FROM localhost/box\nADD a* /to/\n", {"a1": "1", "a2": "2", "b": "3"}),
    Case("add-link-as-source", "FROM localhost/box\nADD link /to/\n", {"a.tar": TAR, "link": L("a.tar")}),
    Case("add-unpack-off", "FROM localhost/box\nADD --unpack=false a.tar /to/a.tar\n", {"a.tar": TAR},
         tree={"to": D(), "to/a.tar": F(TAR)}),
    Case("copy-tar-stays", "FROM localhost/box\nCOPY a.tar /to/\n", {"a.tar": TAR}),
)
