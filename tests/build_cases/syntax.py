"""How a file is written: directives, comments, continuation lines, quotes, forms."""

from __future__ import annotations

from tests.build_cases.case import Case

CASES = (
    Case("syntax-comments",
         "# first\n\n  # indented\nFROM localhost/box\n# between\nRUN echo '# kept' >/a # dropped by sh\n"),
    Case("syntax-continuation", "FROM localhost/box\nRUN echo a \\\n    b \\\n  c >/a && \\\n    echo d >/b\n"),
    Case("syntax-comment-in-continuation",
         "FROM localhost/box\nRUN echo a \\\n# no word of it\n   # nor of this\n  b >/a\n"),
    Case("syntax-empty-continuation", "FROM localhost/box\nRUN echo a \\\n\n\n  b >/a\n"),
    Case("syntax-blanks-behind-escape", "FROM localhost/box\nRUN echo a \\   \n b >/a\n"),
    Case("syntax-crlf", "FROM localhost/box\r\nENV A=b \\\r\n  C=d\r\nRUN echo $A $C >/a\r\n"),
    Case("syntax-bom", "\ufeffFROM localhost/box\nLABEL a=b\n"),
    Case("syntax-case", "from localhost/box as x\nenV a=b\nrUn echo $a >/a\nFROM localhost/box\nCopy --from=x /a /b\n"),
    Case("syntax-tabs", "FROM\tlocalhost/box\n\tENV\tA\tb c\n\tRUN\techo\t$A\t>/a\n"),
    Case("syntax-no-newline-at-end", "FROM localhost/box\nLABEL last=line"),
    Case("syntax-directive-syntax", "# syntax=docker/dockerfile:1\nFROM localhost/box\nLABEL a=b\n"),
    Case("syntax-directive-escape", "# escape=`\nFROM localhost/box\nENV A=b` c P=C:\\dir\nCOPY a `\n  /a\n",
         {"a": "a"},
         differs={"Env": "buildah takes a backslash for the escape character in values whatever the directive says"}),
    Case("syntax-directive-too-late", "# a comment\n# escape=`\nFROM localhost/box\nRUN echo \\\n a >/a\n"),
    Case("syntax-exec-form", 'FROM localhost/box\nRUN ["sh", "-c", "echo $0 >/a", "a b"]\nRUN [ "touch" , "/b c" ]\n'),
    Case("syntax-exec-form-no-variables", 'FROM localhost/box\nENV A=b\nRUN ["touch", "/$A"]\n'),
    Case("syntax-not-json", "FROM localhost/box\nRUN [ -d /etc ] && touch /a\nCMD [ 'sh' ]\n"),
    Case("syntax-json-escapes", r'FROM localhost/box' + '\n' + r'CMD ["a\tb", "\u00e9", "\"", "\\"]' + '\n'),
    Case("syntax-unicode", "FROM localhost/box\nENV A=grün\nLABEL \"schön\"=\"日本\"\nRUN echo é >/ü\n"),
    Case("syntax-double-escape", "FROM localhost/box\nRUN echo 'a\\\\b' >/a\n"),
    Case("syntax-maintainer", "FROM localhost/box\nMAINTAINER Some Body <some@body.example>\n"),
    Case("syntax-unknown-instruction", "FROM localhost/box\nRUNN true\n", fails='unknown instruction "RUNN"'),
    Case("syntax-unknown-flag", "FROM localhost/box\nCOPY --frm=x a /b\n", {"a": ""}, fails="COPY has no flag --frm"),
    Case("syntax-empty", "", fails="there are no instructions"),
    Case("syntax-only-comments", "# nothing\n", fails="there are no instructions"),
    Case("syntax-no-from", "RUN true\n", fails="RUN stands before the first FROM"),
    Case("syntax-bad-json", 'FROM localhost/box\nRUN ["a", 1]\n', fails="something that is no string"),
    Case("syntax-env-without-value", "FROM localhost/box\nENV A\n", fails="ENV A has no value"),
    Case("syntax-copy-one-word", "FROM localhost/box\nCOPY a\n", {"a": ""}, fails="needs a source and a destination"),
    Case("syntax-long-run",
         "FROM localhost/box\nRUN " + " && \\\n    ".join(f"echo {n} >>/a" for n in range(200)) + "\n"),
)
