"""Which images the user wants at all: ``policy.json``, signatures and the keys that made them.

A pull asks ``check``, which reads the policy and nothing more unless that wants signatures.
"""
