"""Containerfiles: bytes to instructions, and these to a configuration, without a file system or a network.

`parse` makes a `model.Containerfile` of a file; `expansion` puts variables into an instruction when it is executed, by
the rules of `expand`; `configure` does to an image's configuration what it says.
The rules are those of Docker's reference and, where that is silent, of what BuildKit does.
"""
