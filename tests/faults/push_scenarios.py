"""What a registry does wrong while something is pushed to it, and what has to come of it.

Each scenario is a push of one image, of which ``script`` replaces some answers. It ends with the image at the registry,
or with a refusal in the words of ``refused`` and no manifest there.
"""

from __future__ import annotations

from tests.fakes.registry import Reply
from tests.faults.push_stage import (
    HEAD,
    MANIFEST,
    PATCH,
    POST,
    PUT,
    STATUS,
    TOKEN,
    PushScenario,
    behind_tls,
    damaged,
    error,
    foreign,
    known_elsewhere,
    location,
    mountable,
    nobody_listens,
    redirected,
    shortened,
    token_expires,
    wants_password,
    wants_token,
)
from tests.faults.registry_stage import ALWAYS, HANG_UP, SLOW_HEADERS, crawl, on, status

CUT = Reply(read=700_000, cut=True)
GARBAGE = {"raw": lambda: iter([b"this is no answer at all\r\n\r\n"])}

PUSH_SCENARIOS = [
    PushScenario("nothing wrong", by_command=True),
    # Where an upload goes on
    PushScenario("Location is absolute", set_up=location("{url}{path}")),
    PushScenario("Location is relative to the request", set_up=location("{last}")),
    PushScenario("Location with the usual port, behind a proxy", set_up=location("http://127.0.0.1{path}")),
    PushScenario("Location on another host", set_up=foreign(), refused="to another host", row=83, by_command=True),
    PushScenario("Location on another host, https", set_up=foreign("https"), refused="to another host", row=83),
    PushScenario("Location on another port", set_up=location("http://127.0.0.1:9{path}"), refused="another host",
                 row=83),  # fmt: skip
    PushScenario("Location on a private address", set_up=location("http://169.254.169.254{path}"),
                 refused="another host", row=83),  # fmt: skip
    PushScenario("Location without a scheme, on another host", set_up=location("//elsewhere.example{path}"),
                 refused="another host", row=83),  # fmt: skip
    *[
        PushScenario(f"Location {place or 'empty'}"[:40], set_up=location(place), refused=words, row=83)
        for place, words in (
            ("", "no address"),
            ("file:///etc/passwd", "not http"),
            ("http://u:p@127.0.0.1:{port}{path}", "credentials"),
            ("\\\\elsewhere.example{path}", "malformed"),
            ("http://127.0.0.1:{port}{path}" + "x" * 20_000, "too long"),
        )
    ],
    PushScenario("no Location", (on(POST, ALWAYS, status=202),), refused="no address"),
    # Redirects
    PushScenario("redirect of an upload, same host", set_up=redirected(307, to_other=False)),
    PushScenario("redirect of an upload, other host", set_up=redirected(307, to_other=True),
                 refused="redirects an upload", row=83),  # fmt: skip
    PushScenario("redirect of an upload that makes it a GET", set_up=redirected(302, to_other=True),
                 refused="redirects an upload", row=83),  # fmt: skip
    PushScenario("redirect of a body, other host", (on(PUT, ALWAYS, **status(307, Location="http://127.0.0.3/")),),
                 refused="redirects an upload", row=83),  # fmt: skip
    # Looking whether it is there
    *[PushScenario(f"HEAD {code} once", (on(HEAD, **status(code)),)) for code in (429, 500, 503)],
    PushScenario("HEAD forbidden", (on(HEAD, ALWAYS, **status(403)),)),
    PushScenario("HEAD lies", (on(HEAD, 3, status=200, chunked=True),), said="sending what it said it had"),
    PushScenario("HEAD lies for ever, and the manifest is refused",
                 (on(MANIFEST, ALWAYS, **error(400, "MANIFEST_BLOB_UNKNOWN")),), refused="lacks a part", most=1),
    PushScenario("HEAD tells another size", (on(HEAD, 3, status=200, headers={"Content-Length": "7"}),)),
    # Beginning an upload
    *[PushScenario(f"POST {code} once", (on(POST, **status(code)),)) for code in (408, 500, 502, 503)],
    PushScenario("POST 429, Retry-After 1", (on(POST, **status(429, Retry_After="1")),), said="too many requests"),
    PushScenario("POST 503, Retry-After 100000", (on(POST, **status(503, Retry_After="100000")),),
                 said="trying again in 2 s"),  # fmt: skip
    PushScenario("POST 500 and no end", (on(POST, ALWAYS, **status(500)),), refused="server error 500"),
    PushScenario("POST closes the connection once", (on(POST, **HANG_UP),)),
    PushScenario("POST answered by garbage", (on(POST, ALWAYS, **GARBAGE),), refused="cannot (use|reach)"),
    PushScenario("POST 200", (on(POST, ALWAYS, status=200),), refused="answered 200"),
    PushScenario("POST denied", (on(POST, ALWAYS, **error(403, "DENIED")),), refused="access denied: said so"),
    PushScenario("POST to no repository", (on(POST, ALWAYS, **error(404, "NAME_UNKNOWN")),), refused="no such repo"),
    PushScenario("POST to a mirror", (on(POST, ALWAYS, **error(405, "UNSUPPORTED")),), refused="takes no pushes"),
    PushScenario("no credentials", set_up=wants_password, refused="authentication required"),
    PushScenario("nobody listens", set_up=nobody_listens, refused="connection refused"),
    PushScenario("slow-loris in headers, once", (on(POST, **SLOW_HEADERS),)),
    PushScenario("answer byte by byte", (on(POST, ALWAYS, raw=crawl(b"HTTP/1.1 202 OK\r\nX: " + b"x" * 200, 0.3)),),
                 refused="no answer in time"),  # fmt: skip
    # Sending
    PushScenario("cut mid-body, resumed", ((PUT, CUT, 1),), by_command=True),
    PushScenario("cut mid-body, upload lost", ((PUT, CUT, 1), on(STATUS, **error(404, "BLOB_UPLOAD_UNKNOWN")))),
    PushScenario("cut mid-body, status says nothing", ((PUT, CUT, 1), on(STATUS, status=204))),
    PushScenario("cut mid-body, status is nonsense",
                 ((PUT, CUT, 1), on(STATUS, status=204, headers={"Range": "bytes 5-9/10"}))),
    PushScenario("cut mid-body, status says more than there is",
                 ((PUT, CUT, 1), on(STATUS, status=204, headers={"Range": "0-99999999"}))),
    PushScenario("cut mid-body, status 500 once", ((PUT, CUT, 1), on(STATUS, **status(500)))),
    PushScenario("cut mid-body, then 416", ((PUT, CUT, 1), on(PATCH, **status(416)))),
    PushScenario("cut mid-body, then PATCH finds it lost", ((PUT, CUT, 1), on(PATCH, **status(404)))),
    PushScenario("cut mid-body, then in a step, upload lost",
                 ((PUT, CUT, 1), on(STATUS, **status(404)), on(PATCH, read=100_000, cut=True))),
    PushScenario("cut mid-step eight times", ((PUT, CUT, 1), on(PATCH, 8, read=70_000, cut=True))),
    PushScenario("cut at the beginning and no end",
                 (on(PUT, ALWAYS, read=1000, cut=True), on(PATCH, ALWAYS, read=0, cut=True)),
                 refused="connection (was cut|reset)"),  # fmt: skip
    PushScenario("no answer to what was taken, once", (on(PUT, mute=True),)),
    PushScenario("no answer to a step that was taken", ((PUT, CUT, 1), on(PATCH, mute=True))),
    *[PushScenario(f"PUT {code} once", (on(PUT, **status(code)),)) for code in (408, 429, 500, 502, 503, 504)],
    PushScenario("PUT 503 before the body's end", (on(PUT, read=10_000, **status(503)),)),
    PushScenario("PUT 500 and no end", (on(PUT, ALWAYS, **status(500)),), refused="server error 500"),
    PushScenario("PATCH 503, Retry-After 1", ((PUT, CUT, 1), on(PATCH, **status(503, Retry_After="1"))),
                 said="server error 503"),  # fmt: skip
    PushScenario("too large as a whole", (on(PUT, read=1000, **status(413)),)),
    PushScenario("too large in any size", (on(PUT, ALWAYS, **status(413)), on(PATCH, ALWAYS, **status(413))),
                 refused=r"too large for the registry \(413\)", by_command=True),  # fmt: skip
    PushScenario("registry full", (on(PUT, ALWAYS, **status(507)),), refused=r"is full \(507\)"),
    PushScenario("wrong digest once", (on(PUT, **error(400, "DIGEST_INVALID")),), said="sending it again"),
    PushScenario("wrong digest", (on(PUT, ALWAYS, **error(400, "DIGEST_INVALID")),), refused="something else"),
    PushScenario("blob damaged in the store", set_up=damaged, refused="not those of its digest"),
    PushScenario("blob short in the store", set_up=shortened, refused="shorter than"),
    PushScenario("upload invalid once", (on(PUT, **error(400, "BLOB_UPLOAD_INVALID")),)),
    PushScenario("PUT 202", (on(PUT, ALWAYS, status=202),), refused="answered 202"),
    PushScenario("nothing is taken, once", (on(PUT, read=0, hang=True),)),
    PushScenario("nothing is taken", (on(PUT, ALWAYS, read=0, hang=True), on(PATCH, ALWAYS, read=0, hang=True)),
                 refused="no answer in time"),  # fmt: skip
    PushScenario("taken byte by byte, once", (on(PUT, read_rate=3_000, cut=True),)),
    PushScenario("token expires", set_up=token_expires),
    PushScenario("503 once for the token", (on(TOKEN, **status(503)),), set_up=wants_token, most=2),
    # TLS
    PushScenario("TLS", set_up=behind_tls),
    PushScenario("TLS, cut mid-body, resumed", ((PUT, CUT, 1),), set_up=behind_tls),
    PushScenario("TLS, 503 before the body's end", (on(PUT, read=100_000, **status(503)),), set_up=behind_tls),
    PushScenario("TLS, nothing is taken, once", (on(PUT, read=0, hang=True),), set_up=behind_tls),
    PushScenario("TLS, taken byte by byte, once", (on(PUT, read_rate=3_000, cut=True),), set_up=behind_tls),
    # Mounting
    PushScenario("mounted", set_up=mountable),
    PushScenario("mount not granted", set_up=known_elsewhere),
    PushScenario("mount forbidden", (on("mount=", ALWAYS, **error(403, "DENIED")),), set_up=mountable),
    PushScenario("mount 500 once", (on("mount=", **status(500)),), set_up=mountable),
    PushScenario("mount that was none", (on("mount=", 3, status=201),), set_up=mountable,
                 said="sending what it said it had"),  # fmt: skip
    # The manifest
    *[PushScenario(f"manifest {code} once", (on(MANIFEST, **status(code)),), most=2) for code in (429, 500, 503)],
    PushScenario("no answer to the manifest, once", (on(MANIFEST, mute=True),), most=2),
    PushScenario("manifest invalid", (on(MANIFEST, ALWAYS, **error(400, "MANIFEST_INVALID")),), refused="said so",
                 most=1),  # fmt: skip
    PushScenario("manifest denied", (on(MANIFEST, ALWAYS, **error(403, "DENIED")),), refused="access denied", most=1),
    PushScenario("manifest too large", (on(MANIFEST, ALWAYS, **status(413)),), refused="413"),
    PushScenario("manifest taken for another one",
                 (on(MANIFEST, ALWAYS, status=201, headers={"Docker-Content-Digest": "sha256:" + "0" * 64}),),
                 refused="not what was sent"),  # fmt: skip
    PushScenario("manifest answered by an endless body",
                 (on(MANIFEST, ALWAYS, status=400, chunked=True, endless=True),), refused="answered 400"),  # fmt: skip
]
