"""The socket between the processes of a container."""

from __future__ import annotations

from rootless.init import wire


def test_last_words_are_heard() -> None:
    """Who ends with a message unread resets the connection; what it had said before comes nevertheless."""
    near, far = wire.pair()
    near.send(wire.MAPPED)
    far.send(wire.FAILED, "cannot do it", "a hint", 125)
    far.close()
    assert near.receive() == (wire.FAILED, ("cannot do it", "a hint", 125))
    assert near.receive() == (wire.CLOSED, ())
    near.close()
