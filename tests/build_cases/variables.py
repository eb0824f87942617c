"""ARG, ENV and what becomes of ``$`` in each instruction."""

from __future__ import annotations

from tests.build_cases.case import Case

CASES = (
    Case("env-forms", 'FROM localhost/box\nENV A=b C="d e" F=g\\ h I=\'j k\' L=\nENV M  n  o "p"\nENV Q=r=s\n'),
    Case("env-expansion", "FROM localhost/box\nENV A=a\nENV B=$A-${A}x C=$A$B D='$A' E=\"$A b\" F=\\$A G=${Z}.\n"),
    Case("env-same-line", "FROM localhost/box\nENV A=1\nENV A=2 B=$A\nENV C=$A\n"),
    Case("env-overrides-base", "FROM localhost/rich\nENV FOO=mine PATH=/bin:/usr/bin\n", base="rich",
         differs={"Env":
                      "the order: buildah puts what is set again at the end, we keep its place as BuildKit does"}),
    Case("env-in-name", "FROM localhost/box\nENV N=X\nENV A$N=b\n"),
    Case("env-defaults", "FROM localhost/box\nENV A=a E=\nENV B=${A:-x}${Z:-y}${E:-z} C=${A:+x}${Z:+y}.${E:+z}\n"),
    Case("env-nested-defaults", "FROM localhost/box\nENV A=a\nENV B=${Z:-${Y:-${A}b}}c\n"),
    Case("env-run-sees-it", "FROM localhost/box\nENV A=\"b  c\"\nRUN printf '%s' \"$A\" >/a; env | grep ^A= >/b\n"),
    Case("env-path-extended", "FROM localhost/box\nENV PATH=/opt/bin:$PATH\nRUN echo $PATH >/a\n"),
    Case("arg-default", "FROM localhost/box\nARG A=b\nRUN echo $A >/a\n"),
    Case("arg-given", "FROM localhost/box\nARG A=b\nARG C\nRUN echo $A $C >/a\n",
         flags=("--build-arg", "A=x", "--build-arg=C=y z")),
    Case("arg-not-given", "FROM localhost/box\nARG A\nRUN echo \"<$A>${A-unset}\" >/a\n"),
    Case("arg-several", "FROM localhost/box\nARG A=1 B=2 C\nRUN echo $A$B$C >/a\n", flags=("--build-arg", "C=3")),
    Case("arg-not-in-env", "FROM localhost/box\nARG A=b\nENV C=$A\n"),
    Case("arg-before-declared", 'FROM localhost/box\nRUN echo "<$A>" >/a\nARG A=b\nRUN echo $A >/b\n',
         flags=("--build-arg", "A=x")),
    Case("arg-env-wins", "FROM localhost/box\nARG A=arg\nENV A=env\nRUN echo $A >/a\n",
         flags=("--build-arg", "A=given")),
    Case("arg-env-of-base-wins", "FROM localhost/rich\nARG FOO=arg\nUSER 0\nRUN echo $FOO >/a\n", base="rich"),
    Case("arg-default-of-arg", "FROM localhost/box\nARG A=b\nARG C=${A}c\nRUN echo $C >/a\n"),
    Case("arg-global", "ARG TAG=box\nFROM localhost/${TAG}\nRUN echo \"<$TAG>\" >/a\nARG TAG\nRUN echo $TAG >/b\n"),
    Case("arg-global-given", "ARG TAG=nothing\nFROM localhost/${TAG}\nARG TAG\nRUN echo $TAG >/b\n",
         flags=("--build-arg", "TAG=box")),
    Case("arg-global-default", "ARG TAG\nFROM localhost/${TAG:-box}\nLABEL a=b\n"),
    Case("arg-in-second-stage",
         "FROM localhost/box AS a\nARG X=1\nRUN echo $X >/a\nFROM localhost/box\nCOPY --from=a /a /a\n"
         'RUN echo "<$X>" >/b\n'),
    Case("arg-in-all-places",
         "FROM localhost/box\nARG P=dir U=7 L=lab\nWORKDIR /$P\nCOPY $P/a ./$P-a\nLABEL $L=$P\nEXPOSE $U\n"
         "VOLUME /$P\nUSER $U\nSTOPSIGNAL $U\n", {"dir/a": "a"}),
    Case("arg-predefined-platform",
         "FROM localhost/box\nARG TARGETOS\nARG TARGETARCH\nARG BUILDOS\n"
         "RUN echo $TARGETOS $TARGETARCH $BUILDOS >/a\n"),
    Case("arg-platform-needs-declaration", "FROM localhost/box\nRUN echo \"<$TARGETOS>\" >/a\n"),
    Case("arg-proxy", "FROM localhost/box\nRUN echo $http_proxy $NO_PROXY >/a\n",
         flags=("--build-arg", "http_proxy=http://p:1", "--build-arg", "NO_PROXY=x")),
    Case("arg-in-cmd-stays", "FROM localhost/box\nARG A=b\nCMD echo $A\nENTRYPOINT [\"echo\", \"$A\"]\n"),
    Case("variable-quotes-in-copy", "FROM localhost/box\nENV D=dir\nCOPY $D/a ${D}x/\nCOPY ${D}/a '/$D'\n",
         {"dir/a": "a"}),
    Case("variable-of-run-is-the-shells", "FROM localhost/box\nENV A=b\nRUN A=c; echo $A ${A#c}. $(echo $A) >/a\n"),
    Case("variable-required", "FROM localhost/box\nENV A=${Z:?set Z}\n", fails="set Z"),
    Case("variable-bad", "FROM localhost/box\nENV A=${A\n", fails="has no '}'"),
    Case("variable-patterns",
         "FROM localhost/box\nENV P=/usr/lib/a.tar.gz\n"
         "ENV A=${P##*/} B=${P%.*} C=${P%%.*} D=${P#*/} E=${P/lib/LIB} F=${P//a/X}\n",
         config={"Env+": ["P=/usr/lib/a.tar.gz", "A=a.tar.gz", "B=/usr/lib/a.tar", "C=/usr/lib/a", "D=usr/lib/a.tar.gz",
                         "E=/usr/LIB/a.tar.gz", "F=/usr/lib/X.tXr.gz"]}),
    Case("variable-unset-forms", "FROM localhost/box\nENV E=\nENV A=${Z-y}${E-z} B=${Z+y}${E+z}\n",
         config={"Env+": ["E=", "A=y", "B=z"]}),
    Case("variable-in-from-stage", "ARG S=one\nFROM localhost/box AS one\nRUN echo 1 >/a\nFROM ${S}\nLABEL b=c\n",
         tree={"a": "1\n"}),
    Case("env-flag", "FROM localhost/box\nENV A=b\nRUN echo $A$C >/a\n", flags=("--env", "A=x", "--env", "C=d")),
)
