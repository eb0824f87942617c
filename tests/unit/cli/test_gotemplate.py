"""Templates print what Go prints; the expected texts were taken from Go's documentation and podman's output."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootless.cli.gotemplate import Template, TemplateError

OBJECT = {
    "Id": "abc",
    "Names": ["one", "two"],
    "State": {"Running": True, "ExitCode": 0, "Status": "running"},
    "Config": {"Env": ["PATH=/bin", "HOME=/root"], "Labels": {"a": "1", "com.x.y": "z"}},
    "NetworkSettings": {"Ports": {"80/tcp": [{"HostIp": "", "HostPort": "8080"}]}},
    "Size": 1234,
    "Ratio": 0.5,
    "Empty": [],
    "Nothing": None,
    "Label": lambda name: {"a": "1"}.get(name, ""),
}

CASES = [
    ("{{.ID}}", "abc"),
    ("{{.Names}}", "[one two]"),
    ("{{.Config.Labels}}", "map[a:1 com.x.y:z]"),
    ("{{.Nothing}}", "<nil>"),
    ("{{.Config.Labels.missing}}|{{.Config.Labels.a}}", "<no value>|1"),
    ('{{index .Config.Labels "com.x.y"}}', "z"),
    ('<{{index .Config.Labels "nobody"}}>', "<>"),
    ('{{if eq (index .Config.Labels "nobody") ""}}none{{end}}', "none"),
    ('{{len (index .NetworkSettings.Ports "81/tcp")}}', "0"),
    ('{{(index (index .NetworkSettings.Ports "80/tcp") 0).HostPort}}', "8080"),
    ("{{json .Names}} {{json .Config.Labels}}", '["one","two"] {"a":"1","com.x.y":"z"}'),
    ("{{range .Names}}<{{.}}>{{end}}", "<one><two>"),
    ("{{range $i, $n := .Names}}{{$i}}={{$n}} {{end}}", "0=one 1=two "),
    ("{{range $k, $v := .Config.Labels}}{{$k}}:{{$v}},{{end}}", "a:1,com.x.y:z,"),
    ("{{range .Empty}}x{{else}}none{{end}}", "none"),
    ("{{range .Names}}{{.}}{{break}}{{end}}", "one"),
    ('{{range .Names}}{{if eq . "one"}}{{continue}}{{end}}{{.}}{{end}}', "two"),
    ("{{if .State.Running}}yes{{else}}no{{end}}", "yes"),
    ("{{if .State.ExitCode}}bad{{else if .State.Running}}up{{else}}no{{end}}", "up"),
    ("{{with .Nothing}}x{{else}}y{{end}}", "y"),
    ("{{with $s := .State}}{{$s.Status}}{{end}}", "running"),
    ("{{$x := .Size}}{{if true}}{{$x = 7}}{{end}}{{$x}}", "7"),
    ("a  {{- .Size -}}  b", "a1234b"),
    ("{{/* nothing */}}x", "x"),
    ('{{eq .Size 1 1234}} {{ne .ID "x"}} {{lt 1 2}} {{ge 2 2}}', "true true true true"),
    ("{{and .State.Running .Size}} {{or .Empty .Nothing .ID}} {{not .Empty}}", "1234 abc true"),
    ("{{len .Names}} {{len .ID}}", "2 3"),
    ("{{slice .ID 1}} {{slice .ID 0 2}}", "bc ab"),
    (
        '{{range .Config.Env}}{{if and (ge (len .) 5) (eq (slice . 0 5) "HOME=")}}'
        '{{slice . 5 | printf "%q"}}{{end}}{{end}}',
        '"/root"',
    ),
    ('{{printf "%s-%d-%v-%5s|%-5s|%05d|%t" .ID 3 .Names "x" "y" 42 true}}', "abc-3-[one two]-    x|y    |00042|true"),
    ('{{print "a" 1 2 "b"}}', "a1 2b"),
    ('{{println "a" 1}}', "a 1\n"),
    ('{{join .Names ","}} {{upper .ID}} {{title "a b"}} {{pad "x" 1 2}}|{{truncate .ID 2}}', "one,two ABC A B  x  |ab"),
    ('{{split "a:b" ":"}}', "[a b]"),
    ('{{.Label "a"}}', "1"),
    ("{{.Ratio}} {{1.5}} {{-3}} {{0x10}} {{'a'}}", "0.5 1.5 -3 16 97"),
    ("{{`raw\\n`}}", "raw\\n"),
    ("{{.NetworkSettings.Ports}}", "map[80/tcp:[map[HostIp: HostPort:8080]]]"),
    ('{{ "}}" }}', "}}"),
]


@pytest.mark.parametrize(("template", "expected"), CASES)
def test_prints_as_go_does(template: str, expected: str) -> None:
    assert Template(template).render(OBJECT) == expected


@pytest.mark.parametrize(
    "template",
    [
        "{{",
        "{{.ID",
        "{{if .ID}}",
        "{{end}}",
        "{{foo}}",
        '{{"x}}',
        "{{.A | }}",
        "{{)}}",
        "{{(.ID}}",
        '{{template "x"}}',
        "{{}}",
    ],
)
def test_refuses_bad_syntax(template: str) -> None:
    with pytest.raises(TemplateError):
        Template(template).render(OBJECT)


@pytest.mark.parametrize(
    "template",
    [
        "{{.Nope}}",
        "{{.State.Nope}}",
        "{{.Nothing.X}}",
        "{{index .Names 9}}",
        "{{len 3}}",
        '{{lt 1 "a"}}',
        "{{.ID 1}}",
        "{{$x}}",
        "{{slice .ID 9}}",
    ],
)
def test_refuses_what_the_value_does_not_have(template: str) -> None:
    with pytest.raises(TemplateError):
        Template(template).render(OBJECT)


@given(st.text(alphabet='{}.$|()"` -=:abIDrangeifend0123,\\\n', max_size=60))
def test_never_raises_anything_else(template: str) -> None:
    with contextlib.suppress(TemplateError):
        Template(template).render(OBJECT)


@given(st.text(max_size=40).filter(lambda text: "{{" not in text))
def test_text_without_actions_is_kept(text: str) -> None:
    assert Template(text).render({}) == text
