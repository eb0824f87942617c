"""The child: what runs between the fork and the container's own program.

Nothing may be imported once the image is visible, so these modules import only one another, ``rootless.linux`` and
built-in modules, at their tops. They never import ``pwd``, ``grp``, ``locale`` or ``traceback``.
"""
