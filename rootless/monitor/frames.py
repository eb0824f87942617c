"""What the monitor and those who are attached to it say to each other: packets of a kind and its data.

The socket is of the kind SOCK_SEQPACKET, so packets keep their borders.
"""

from __future__ import annotations

SOCKET = "attach"
"""The name of the monitor's socket in the container's directory below RUN."""

OUTPUT, ERRORS = b"o", b"e"
"""To the client: what the container wrote to its terminal or standard output, and to standard error."""

ENDED = b"x"
"""To the client: the container has ended; the exit code in decimal digits. The connection closes when all is done."""

INPUT = b"i"
"""From the client: what was typed. Without data: the end of it."""

SIZE = b"s"
"""From the client: the terminal's size, as ``struct winsize`` of ioctl_tty(2)."""

HANGUP = b"h"
"""From the owner: nobody reads the stream whose kind is the data any more."""

QUIET = b"w"
"""From the client: it waits for the end alone, and wants no output."""

STOPPING = b"q"
"""From the client: the user wants the container to end. It is not restarted, and nobody is waited for. To the client:
that was heard."""

CHECKED = b"c"
"""From the client: it has checked the container's health; see `rootless.monitor.health`. To the client: that was heard.
"""

PIECE = 1 << 16
"""How many bytes of data a packet has at most."""
