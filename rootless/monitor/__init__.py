"""Between a container and those who watch it.

``python -IS rootless/monitor/__main__.py FD`` is the one small process that a detached container needs (`supervisor`).
It is the standard library's alone, and of that what costs little: its memory is that of the interpreter.
"""
