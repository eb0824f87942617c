"""Instructions that change the configuration alone."""

from __future__ import annotations

from tests.build_cases.case import Case

VOLUME = "buildah makes the directory of the last VOLUME; neither Docker nor we make any, a container does"
KEPT = "buildah before 1.34 drops what RUN changes in a volume; later versions and we keep it"

CASES = (
    Case("cmd-shell", "FROM localhost/box\nCMD echo a   b\n"),
    Case("cmd-exec", 'FROM localhost/box\nCMD ["echo", "a   b"]\n'),
    Case("cmd-last-wins", 'FROM localhost/box\nCMD a\nCMD ["b"]\n'),
    Case("cmd-empty", "FROM localhost/rich\nCMD []\n", base="rich"),
    Case("entrypoint-shell", "FROM localhost/box\nENTRYPOINT exec top -b\n"),
    Case("entrypoint-exec", 'FROM localhost/box\nENTRYPOINT ["top", "-b"]\nCMD ["-c"]\n'),
    Case("entrypoint-resets-cmd-of-base", 'FROM localhost/rich\nENTRYPOINT ["a"]\n', base="rich"),
    Case("entrypoint-after-cmd-keeps-it", 'FROM localhost/rich\nCMD ["x"]\nENTRYPOINT ["a"]\n', base="rich"),
    Case("entrypoint-empty", "FROM localhost/rich\nENTRYPOINT []\n", base="rich"),
    Case("label-forms", 'FROM localhost/box\nLABEL a=b "c d"="e f" g=\'h i\'\nLABEL j k l\nLABEL m=n\\ o p=\n'),
    Case("label-multiline", 'FROM localhost/box\nLABEL a="b" \\\n      c="d \\\ne"\n'),
    Case("label-override", "FROM localhost/rich\nLABEL maker=me\nLABEL maker=you other=1\n", base="rich"),
    Case("label-flag", "FROM localhost/box\nLABEL a=b\n", flags=("--label", "a=x", "--label", "c=d e", "--label", "f")),
    Case("expose", "FROM localhost/box\nEXPOSE 80\nEXPOSE 53/udp 443/tcp\n"),
    Case("expose-range", "FROM localhost/box\nEXPOSE 8000-8002\n",
         differs={"ExposedPorts":
                      "buildah writes the range as one port; we write each, as Docker does"}),
    Case("expose-of-base", "FROM localhost/rich\nEXPOSE 81\n", base="rich"),
    Case("expose-variable", "FROM localhost/box\nENV P=\"80 81/udp\"\nEXPOSE $P\n"),
    Case("volume", 'FROM localhost/box\nVOLUME /a\nVOLUME /b /c\nVOLUME ["/d e", "/f"]\n',
         differs={"d e": VOLUME, "f": VOLUME}),
    Case("volume-of-base", "FROM localhost/rich\nVOLUME /more\n", base="rich", differs={"more": VOLUME}),
    Case("volume-keeps-what-run-writes",
         "FROM localhost/box\nRUN mkdir /v && echo 1 >/v/a\nVOLUME /v\n"
         "RUN echo 2 >/v/b; echo 3 >/v/a; echo 4 >/w\n", differs={"v/a": KEPT, "v/b": KEPT}),
    Case("volume-copy-after", "FROM localhost/box\nVOLUME /v\nCOPY a /v/\n", {"a": "a"}),
    Case("user", "FROM localhost/box\nUSER user\nRUN id -u >/tmp/a; id -g >>/tmp/a; id -G >>/tmp/a\n"),
    Case("user-group", "FROM localhost/box\nUSER user:extra\nRUN id -u >/tmp/a; id -g >>/tmp/a\n"),
    Case("user-numbers", "FROM localhost/box\nUSER 1234:4321\nRUN id -u >/tmp/a; id -g >>/tmp/a\n"),
    Case("user-number-only", "FROM localhost/box\nUSER 1000\nRUN id -u >/tmp/a; id -g >>/tmp/a\n"),
    Case("user-back-to-root", "FROM localhost/rich\nUSER root\nRUN touch /root-made\nUSER 1000\n", base="rich"),
    Case("user-unknown", "FROM localhost/box\nUSER nobody-here\nRUN true\n", fails="nobody-here"),
    Case("workdir", "FROM localhost/box\nWORKDIR /a/b\nWORKDIR c\nRUN pwd >where\n"),
    Case("workdir-dots", "FROM localhost/box\nWORKDIR /a/b/../c/./\nRUN pwd >where\n",
         differs={"WorkingDir": "buildah keeps the path as written; we keep it cleaned, as BuildKit does"}),
    Case("workdir-variable", "FROM localhost/box\nENV D=/x\nWORKDIR $D/y\nRUN pwd >where\n"),
    Case("workdir-made-even-unused", "FROM localhost/box\nWORKDIR /deep/er\n"),
    Case("workdir-as-user", "FROM localhost/box\nUSER user\nWORKDIR /w\nRUN ls -ld /w | cut -c1-10 >/tmp/a\n"),
    Case("workdir-symlink", "FROM localhost/rich\nUSER 0\nWORKDIR /link/sub\nRUN pwd >/p\n", base="rich"),
    Case("workdir-quotes", 'FROM localhost/box\nWORKDIR "/a b"\nRUN touch c\n'),
    Case("stopsignal", "FROM localhost/box\nSTOPSIGNAL SIGQUIT\n"),
    Case("stopsignal-number", "FROM localhost/box\nSTOPSIGNAL 9\n"),
    Case("shell", 'FROM localhost/box\nSHELL ["/bin/sh", "-ec"]\nRUN false; touch /never || true\n', fails="RUN",
         docker=True),
    Case("shell-used",
         'FROM localhost/box\nSHELL ["/bin/busybox", "ash", "-xc"]\nRUN echo $0 $- >/a\nCMD a b\nENTRYPOINT c\n',
         docker=True,
         differs={"Cmd": "buildah takes /bin/sh whatever SHELL says; Docker's reference says SHELL",
                  "Entrypoint": "the same"}),
    Case("healthcheck", "FROM localhost/box\nHEALTHCHECK CMD true || exit 1\n", docker=True),
    Case("healthcheck-all",
         "FROM localhost/box\n"
         'HEALTHCHECK --interval=5m --timeout=3s --start-period=1m30s --retries=7 CMD ["true", "a b"]\n', docker=True),
    Case("healthcheck-none", "FROM localhost/box\nHEALTHCHECK CMD true\nHEALTHCHECK NONE\n", docker=True),
    Case("healthcheck-bad", "FROM localhost/box\nHEALTHCHECK sometimes\n", fails="HEALTHCHECK is CMD or NONE"),
    Case("healthcheck-bad-interval", "FROM localhost/box\nHEALTHCHECK --interval=soon CMD true\n", fails="soon"),
    Case("onbuild-kept", "FROM localhost/box\nONBUILD RUN echo $A >/a\nONBUILD COPY . /app\nONBUILD ENV A=b\n",
         docker=True),
    Case("everything-in-docker-format",
         'FROM localhost/rich\nSHELL ["/bin/sh", "-c"]\nCMD a\nEXPOSE 1\nVOLUME /x\nUSER 5\nWORKDIR /\n'
         "STOPSIGNAL 5\nLABEL a=b\nENV c=d\n", base="rich", docker=True),
)
