"""What a registry does wrong, and what has to come of it: the table that `test_registry_scenarios.py` goes through.

Each scenario is a pull of one image, of which ``script`` replaces some answers, ``change`` the content, and ``set_up``
whatever else. It ends with the image, or with a refusal in the words of ``refused``.
"""

from __future__ import annotations

import email.utils
import time

from tests.fakes.registry import INDEX
from tests.faults.registry_stage import (
    ALWAYS,
    BOMB_REDIRECT,
    CONFIG,
    ENDLESS_BODY,
    ENDLESS_INTERIM,
    ENDLESS_REDIRECT,
    HANG_UP,
    HUGE,
    LAYER,
    MANIFEST,
    MANY_KEYS,
    MANY_OBJECTS,
    PING,
    SLOW_HEADERS,
    TOKEN,
    Scenario,
    by_proxy,
    certified,
    die,
    digest,
    flapping_name,
    index_without_its_manifest,
    late,
    lie,
    lie_in_layers,
    lose_children,
    many_sizes,
    mirrored,
    no_tls,
    not_by_proxy,
    old_tls,
    on,
    pinned_and_altered,
    served,
    size,
    status,
    token_expires,
    token_is,
    wants_token,
)

SCENARIOS = [
    # A blob is not what it should be
    Scenario("blob truncated, honest length, once", (on(LAYER, keep=500_000),)),
    Scenario("blob truncated, honest length", (on(LAYER, ALWAYS, keep=500_000),),
             refused="it has 500000 bytes", most=4),  # fmt: skip
    Scenario("blob one bit off, once", (on(LAYER, flip=True),), said="fetching it again"),
    Scenario("blob one bit off", (on(LAYER, ALWAYS, flip=True),), refused="digest", most=2),
    Scenario("configuration one bit off", (on(CONFIG, ALWAYS, flip=True),), refused="digest", most=2),
    Scenario("blob longer than its size, honest length", (on(LAYER, ALWAYS, extra=b"x"),), refused="bytes, not"),
    Scenario("blob longer than its size, no length, once", (on(LAYER, chunked=True, extra=b"x" * 10),)),
    Scenario(
        "blob longer than its size, no length", (on(LAYER, ALWAYS, chunked=True, extra=b"x" * 10),),
        refused="longer than", most=2,
    ),
    Scenario("blob without any end", (on(LAYER, ALWAYS, **ENDLESS_BODY),), refused="longer than", most=2,
             by_command=True),  # fmt: skip
    Scenario("blob in chunks without an end", (on(LAYER, chunked=True, endless=True),), most=1),
    Scenario("blob with Content-Encoding", (on(LAYER, ALWAYS, headers={"Content-Encoding": "gzip"}),),
             row=86, refused="encoded"),  # fmt: skip
    Scenario("blob lost", change=digest("sha256:" + "2" * 64), refused="blob unknown"),
    # A blob is cut
    Scenario("cut mid-blob", (on(LAYER, cut_after=600_000),), most=2, by_command=True),
    Scenario("reset mid-blob, twenty times", (on(LAYER, 20, cut_after=70_000, reset=True),), most=21, by_command=True),
    Scenario("cut, then Range ignored", (on(LAYER, cut_after=600_000), on(LAYER, ignore_range=True)), most=2),
    Scenario(
        "cut, then the wrong Content-Range",
        (on(LAYER, cut_after=600_000), on(LAYER, content_range="bytes 5-9/10")), most=3,
    ),
    Scenario(
        "cut, then another total in Content-Range",
        (on(LAYER, cut_after=600_000), on(LAYER, content_range="bytes 600000-900000/900001")), most=3,
    ),
    Scenario("cut, then no Content-Range", (on(LAYER, cut_after=600_000), on(LAYER, content_range="nonsense")), most=3),
    Scenario("cut, then 416", (on(LAYER, cut_after=600_000), on(LAYER, **status(416))), most=3),
    Scenario("manifest cut", (on(MANIFEST, cut_after=50),), most=2),
    Scenario("no answer but a closed connection", (on(MANIFEST, **HANG_UP),), most=2),
    # Too much, or too busy
    Scenario("429, Retry-After in seconds", (on(LAYER, **status(429, Retry_After="1")),), said="too many requests"),
    Scenario(
        "429, Retry-After a date",
        (on(LAYER, **status(429, Retry_After=email.utils.formatdate(time.time() + 100_000, usegmt=True))),),
        said="trying again in 2 s",
    ),
    Scenario(
        "429, Retry-After 100000", (on(MANIFEST, **status(429, Retry_After="100000")),), said="trying again in 2 s",
    ),
    Scenario("429 and no end", (on(MANIFEST, ALWAYS, **status(429)),), refused="too many requests", most=4),
    *[Scenario(f"{code} once", (on(LAYER, **status(code)),), most=2) for code in (408, 500, 502, 503, 504)],
    Scenario("503 once for the manifest", (on(MANIFEST, **status(503)),), most=2),
    Scenario("503 once for the token", (on(TOKEN, **status(503)),), change=wants_token, most=2),
    Scenario("500 and no end", (on(LAYER, ALWAYS, **status(500)),), refused="server error 500", most=4),
    Scenario("name that flaps", set_up=flapping_name),
    Scenario("connection refused, then the registry is there", set_up=late),
    # Too slow
    Scenario("slow-loris in a body, once", (on(LAYER, rate=2_000),), most=2),
    Scenario("slow-loris in a body", (on(LAYER, ALWAYS, rate=2_000),), refused="too slowly", most=3),
    Scenario("slow-loris in headers, once", (on(MANIFEST, **SLOW_HEADERS),), most=2),
    Scenario("slow-loris in headers", (on(LAYER, ALWAYS, **SLOW_HEADERS),), refused="no answer in time", most=3),
    Scenario("stall after headers, once", (on(LAYER, stall_after=0),), most=2),
    Scenario("stall after headers", (on(LAYER, ALWAYS, stall_after=0),), refused="too slowly", most=3),
    Scenario("stall mid-blob, once", (on(LAYER, stall_after=300_000),), most=2),
    Scenario("manifest in chunks without an end, once", (on(MANIFEST, chunked=True, endless=True),), most=2),
    Scenario("slow ping, once", (on(PING, delay=2),)),
    Scenario("interim answers without an end", (on(MANIFEST, ALWAYS, **ENDLESS_INTERIM),), refused="headers",
             by_command=True),  # fmt: skip
    # Redirects
    Scenario("redirect loop", (on(MANIFEST, ALWAYS, **status(302, Location="/v2/app/manifests/latest")),),
             refused="more than 5 redirects", most=6),  # fmt: skip
    *[
        Scenario(f"redirect to {place or 'nowhere'}", (on(MANIFEST, ALWAYS, **status(307, Location=place)),),
                 refused="cannot follow", most=1)  # fmt: skip
        for place in ("file:///etc/passwd", "ftp://host/x", "unix:///run/x.sock", "http://u:p@host/x", "")
    ],
    Scenario("redirect with a body without an end", (on(MANIFEST, **ENDLESS_REDIRECT),), by_command=True, row=86),
    Scenario("redirect with a bomb", (on(MANIFEST, ALWAYS, **BOMB_REDIRECT),), refused="encoded",
             by_command=True, row=86),  # fmt: skip
    # Tokens
    Scenario("token expires mid-pull", change=token_expires),
    Scenario("token is never good enough", (on(MANIFEST, ALWAYS, **status(401, WWW_Authenticate="Bearer")),),
             refused="unauthorized", most=2),  # fmt: skip
    Scenario("token of 8 MiB", change=token_is(b'{"token": "%s"}' % (b"x" * (8 << 20))),
             row=85, refused="larger than", by_command=True),  # fmt: skip
    *[
        Scenario(f"token server that answers {what}", change=token_is(body), refused="cannot get a token")
        for what, body in {
            "nothing": b"", "a page": b"<html>", "a list": b"[]", "no token": b"{}", "a number": b'{"token": 5}',
            "a token of two lines": b'{"token": "a\\nb"}', "what is nested": b"[" * 100_000,
        }.items()
    ],
    # Documents
    Scenario("manifest of 64 MiB", change=served(b" " * HUGE), row=85, refused="larger than", by_command=True),
    Scenario("manifest without a length and an end", (on(MANIFEST, ALWAYS, **ENDLESS_BODY),), row=85,
             refused="larger than",  # fmt: skip
             by_command=True),  # fmt: skip
    Scenario("JSON nested a million times", change=served(b"[" * 1_000_000), row=85, refused="JSON", by_command=True),
    Scenario("JSON of half a million objects", change=served(MANY_OBJECTS), row=85, refused="items", by_command=True),
    Scenario("JSON of half a million keys", change=served(MANY_KEYS), row=85, refused="items", by_command=True),
    Scenario("JSON with a number of 100,000 digits",
             change=served(b'{"schemaVersion": %s}' % (b"1" * 100_000)), row=85, refused="JSON"),  # fmt: skip
    Scenario("JSON with a key twice", change=served(b'{"schemaVersion": 2, "schemaVersion": 2}'), row=85,
             refused="twice"),  # fmt: skip
    Scenario("header line of 12 MiB", (on(MANIFEST, ALWAYS, status=200, headers={"X": "y" * (12 << 20)}),),
             row=85, refused="headers are too large", by_command=True),  # fmt: skip
    Scenario("headers of 320 KiB",
             (on(MANIFEST, ALWAYS, status=200, headers={f"X-{n}": "y" * 4000 for n in range(80)}),),
             row=85, refused="headers are too large"),  # fmt: skip
    Scenario("Content-Type text/html", change=served(lambda manifest: manifest, "text/html"), refused="text/html"),
    Scenario("Content-Type of an index", change=served(lambda manifest: manifest, INDEX), refused="announced as"),
    Scenario("manifest that calls itself an index",
             change=served(lambda manifest: {**manifest, "mediaType": INDEX}), refused="calls itself"),  # fmt: skip
    Scenario("manifest of schema 1",
             change=served({"schemaVersion": 1}, "application/vnd.docker.distribution.manifest.v1+prettyjws"),
             refused="schema 1"),  # fmt: skip
    Scenario("ambiguous manifest", change=served(lambda manifest: {**manifest, "manifests": []}), refused="ambiguous"),
    Scenario("manifest with Content-Encoding", (on(MANIFEST, ALWAYS, headers={"Content-Encoding": "gzip, gzip"}),),
             row=86, refused="encoded"),  # fmt: skip
    Scenario("negative layer size", change=size(-5), refused="not between 0 and"),
    Scenario("layer size of 2^63", change=size(1 << 63), refused="64-bit"),
    Scenario("layer size that is a text", change=size("5"), refused="64-bit"),
    Scenario("layer larger than the disk", change=size(1 << 40), refused="it needs 1048576 MiB", by_command=True),
    Scenario("layers larger than the disk together", change=many_sizes, refused="it needs 26214400 MiB"),
    *[
        Scenario(f"digest {text[:12]}", change=digest(text), refused="not a sha256 or sha512 digest", row=33)
        for text in ("sha256:../../x", "sha256:" + "A" * 64, "sha256:" + "a" * 63, "md5:" + "a" * 32)
    ],
    Scenario("another Docker-Content-Digest", (on(MANIFEST, headers={"Docker-Content-Digest": "sha256:" + "0" * 64}),),
             said="names another digest"),  # fmt: skip
    Scenario("pinned, and another manifest", change=pinned_and_altered, refused="digest mismatch"),
    Scenario("index without its manifest", change=index_without_its_manifest,
             refused="manifest for platform linux/.* is missing"),  # fmt: skip
    # TLS
    Scenario("TLS: expired", set_up=certified("IP:127.0.0.1", days=-1), refused="certificate has expired"),
    Scenario("TLS: another host", set_up=certified("DNS:elsewhere.example"), refused="IP address mismatch"),
    Scenario("TLS: unknown authority", set_up=certified("IP:127.0.0.1", trusted=False), refused="not trusted"),
    Scenario("TLS: version 1.0", set_up=old_tls, refused="no version of TLS that is safe"),
    Scenario("TLS: none", set_up=no_tls, refused="does not speak TLS"),
    Scenario("TLS: good", set_up=certified("IP:127.0.0.1")),
    # Proxies
    Scenario("proxy", set_up=by_proxy()),
    Scenario("proxy is down", set_up=by_proxy(alive=False), refused="proxy is down"),
    Scenario("proxy wants a password", set_up=by_proxy(407), refused="proxy wants other credentials"),
    Scenario("proxy forbids it", set_up=by_proxy(403), refused=r"proxy refused \(403\)"),
    Scenario("proxy without a way", set_up=by_proxy(known=False), refused="proxy answered 502"),
    *[
        Scenario(f"NO_PROXY={form}", set_up=not_by_proxy(form))
        for form in ("*", "registry.example.com", ".example.com", "example.com", "a.b, registry.example.com:{port}")
    ],
    # Mirrors
    Scenario("mirror with other bytes, pinned", set_up=mirrored(lie, pinned=True),
             said="mirror 127.0.0.2.* digest mismatch"),  # fmt: skip
    Scenario("mirror with other layers", set_up=mirrored(lie_in_layers), said="fetching it again"),
    Scenario("mirror without the manifests of its index", set_up=mirrored(lose_children), said="mirror 127.0.0.2"),
    Scenario("mirror is down", set_up=mirrored(die), said="server error 503"),
]
