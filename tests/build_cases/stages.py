"""FROM: stages, bases and triggers."""

from __future__ import annotations

from tests.build_cases.case import Case

TWO = "FROM localhost/box AS one\nRUN echo 1 >/a\nFROM localhost/box AS two\nRUN echo 2 >/b\n"

CASES = (
    Case("from-only", "FROM localhost/rich\n", base="rich",
         differs={"annotations": "buildah gives the base itself, which names no base"}),
    Case("from-tag", "FROM localhost/box:latest\nLABEL a=b\n"),
    Case("from-platform", "FROM --platform=linux/amd64 localhost/box\nLABEL a=b\n"),
    Case("from-scratch", "FROM scratch\nCOPY a /a\nENV A=b\nCMD [\"/a\"]\n", {"a": "1"}),
    Case("from-scratch-empty", "FROM scratch\nLABEL a=b\n"),
    Case("from-stage", "FROM localhost/box AS one\nENV A=b\nRUN echo 1 >/a\nFROM one\nRUN cat /a >/b; echo $A >>/b\n"),
    Case("from-stage-keeps-settings",
         "FROM localhost/box AS one\nWORKDIR /w\nUSER 5\nCMD a\nLABEL x=y\nFROM one\nLABEL z=1\n"),
    Case("from-last-stage", TWO),
    Case("from-target", TWO, flags=("--target", "one")),
    Case("from-target-number", TWO, flags=("--target", "0"), tree={"a": "1\n"}),
    Case("from-target-unknown", TWO, flags=("--target", "three"), fails="three"),
    Case("from-unused-stage-fails-not", "FROM localhost/box AS bad\nRUN false\nFROM localhost/box\nLABEL a=b\n"),
    Case("from-stage-case",
         "FROM localhost/box AS Build\nRUN echo 1 >/a\nFROM localhost/box\nCOPY --from=build /a /b\n",
         tree={"b": "1\n"}),
    Case("from-chain",
         "FROM localhost/box AS a\nRUN echo 1 >/a\nFROM a AS b\nRUN echo 2 >/b\nFROM b AS c\nRUN echo 3 >/c\n"
         "FROM localhost/box\nCOPY --from=c /a /b /c /to/\n"),
    Case("from-diamond",
         "FROM localhost/box AS base\nRUN echo 0 >/z\nFROM base AS l\nRUN echo 1 >/l\nFROM base AS r\n"
         "RUN echo 2 >/r\nFROM base\nCOPY --from=l /l /\nCOPY --from=r /r /\n"),
    Case("from-missing", "FROM localhost/nothing-of-this-name\n", flags=("--pull=never",),
         fails="nothing-of-this-name"),
    Case("from-bad-name", "FROM localhost/Bad:Name:x\n", fails="Bad"),
    Case("from-duplicate-name",
         "FROM localhost/box AS x\nRUN echo 1 >/a\nFROM localhost/box AS x\nRUN echo 2 >/a\nFROM localhost/box\n"
         "COPY --from=x /a /b\n", flags=()),
    Case("from-flag", "FROM localhost/nothing\nRUN echo 1 >/a\n", flags=("--from", "localhost/box")),
    Case("from-settings-inherited", "FROM localhost/rich\nUSER 0\nRUN echo $FOO $(pwd) >/a\n", base="rich"),
    Case("onbuild-triggers", "FROM localhost/onbuild\nRUN cat /app/a >/c\n", {"a": "1"},
         before={"localhost/onbuild":
                     "FROM localhost/box\nONBUILD COPY a /app/a\nONBUILD RUN echo trigger >/b\nONBUILD ENV A=b\n"},
         docker=True),
    Case("onbuild-once", "FROM localhost/onbuild2\nLABEL a=b\n", {"a": "1"},
         before={"localhost/onbuild1": "FROM localhost/box\nONBUILD RUN echo x >>/b\n",
                 "localhost/onbuild2": "FROM localhost/onbuild1\n"}, docker=True),
    Case("onbuild-arg", "FROM localhost/onbuild3\nRUN echo $V >/c\n",
         before={"localhost/onbuild3": "FROM localhost/box\nONBUILD ARG V=1\nONBUILD RUN echo $V >/b\n"}, docker=True,
         flags=("--build-arg", "V=2")),
    Case("onbuild-in-stage", "FROM localhost/onbuild4 AS s\nFROM localhost/box\nCOPY --from=s /b /c\n",
         before={"localhost/onbuild4": "FROM localhost/box\nONBUILD RUN echo x >>/b\n"}, docker=True),
    Case("onbuild-of-onbuild", "FROM localhost/box\nONBUILD ONBUILD RUN true\n", fails="ONBUILD cannot be a trigger"),
    Case("onbuild-from", "FROM localhost/box\nONBUILD FROM x\n", fails="FROM cannot be a trigger"),
)
