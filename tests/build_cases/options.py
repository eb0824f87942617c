"""What the command line says."""

from __future__ import annotations

from tests.build_cases.case import Case

COPY = "FROM localhost/box\nCOPY a /a\nRUN echo 1 >/b; rm /etc/os-release\n"
FILES = {"a": "1"}

CASES = (
    Case("flag-file", "FROM nothing\n", {"other/File": "FROM localhost/box\nCOPY a /x\n", "a": "1"},
         flags=("-f", "other/File")),
    Case("flag-squash", COPY, FILES, flags=("--squash",)),
    Case("flag-layers", COPY, FILES, flags=("--layers",)),
    Case("flag-no-layers", COPY, FILES, flags=("--layers=false",)),
    Case("flag-no-cache", COPY, FILES, flags=("--no-cache",)),
    Case("flag-format-docker", COPY, FILES, docker=True),
    Case("flag-annotation", COPY, FILES, flags=("--annotation", "a=b", "--annotation", "c=d")),
    Case("flag-timestamp", COPY, FILES, flags=("--timestamp", "1600000000")),
    Case("flag-timestamp-zero", COPY, FILES, flags=("--timestamp", "0")),
    Case("flag-platform", "FROM localhost/box\nRUN uname -s >/a\n", flags=("--platform", "linux/amd64")),
    Case("flag-add-host", "FROM localhost/box\nRUN grep -c my.host /etc/hosts >/a\n",
         flags=("--add-host", "my.host:10.1.2.3")),
    Case("flag-network-none", "FROM localhost/box\nRUN echo 1 >/a\n", flags=("--network", "none"), tree={"a": "1\n"}),
    Case("flag-jobs",
         "FROM localhost/box AS a\nRUN echo 1 >/a\nFROM localhost/box AS b\nRUN echo 2 >/b\nFROM localhost/box\n"
         "COPY --from=a /a /\nCOPY --from=b /b /\n", flags=("--jobs", "3")),
    Case("flag-build-context-directory", "FROM localhost/box\nCOPY --from=more x /y\n", {"side/x": "1"},
         flags=("--build-context", "more=side")),
    Case("flag-build-context-image", "FROM base\nRUN cat /data/file >/tmp/y\n",
         flags=("--build-context", "base=docker-image://localhost/rich"), base="rich"),
    Case("flag-unsetenv", "FROM localhost/rich\nENV A=b\n", flags=("--unsetenv", "FOO"), base="rich"),
    Case("flag-ulimit", "FROM localhost/box\nRUN ulimit -n >/a\n", flags=("--ulimit", "nofile=512:512"),
         tree={"a": "512\n"}),
    Case("flag-cap-drop", "FROM localhost/box\nRUN touch /a; chown 5:5 /a || true\n", flags=("--cap-drop", "CHOWN")),
    Case("flag-no-hosts", "FROM localhost/box\nCOPY a /etc/hosts\nRUN cat /etc/hosts >/b\n", FILES,
         flags=("--no-hosts",)),
    Case("flag-volume", "FROM localhost/box\nRUN cat /v/x >/a\n", {"v/x": "1"}, flags=("--volume", "{context}/v:/v:ro"),
         differs={"v": "buildah leaves the directory that it made to mount on"}),
    Case("flag-omit-history", COPY, FILES, flags=("--omit-history",)),
    Case("flag-label-over-base", "FROM localhost/rich\n", flags=("--label", "maker=flag"), base="rich"),
    Case("flag-identity-label", "FROM localhost/box\nLABEL a=b\n", flags=("--identity-label=false",)),
    Case("flag-os-version", "FROM localhost/box\nLABEL a=b\n", flags=("--os-version", "1.2", "--os-feature", "a")),
    Case("flag-build-arg-unused", "FROM localhost/box\nRUN echo \"<$Z>\" >/a\n", flags=("--build-arg", "Z=1")),
    Case("flag-build-arg-environment", 'FROM localhost/box\nARG Z\nRUN echo "<$Z>" >/a\n', flags=("--build-arg", "Z"),
         environment={"Z": "outside"}),
    Case("flag-target-unknown-arg", "FROM localhost/box AS x\nRUN echo 1 >/a\nFROM x\nRUN exit 1\n",
         flags=("--target=x",)),
    Case("flag-dockerfile-name", "FROM nothing\n", {"Dockerfile": "FROM nothing-either\n"},
         flags=("-f", "Containerfile"), fails="nothing"),
    Case("flag-pull-never-missing", "FROM localhost/absent\n", flags=("--pull=never",), fails="absent"),
)
