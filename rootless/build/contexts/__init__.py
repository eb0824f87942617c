"""Build contexts: directories, archives from standard input or a URL, repositories; and what else a build may name.

What comes from elsewhere is put into a directory of the build's own, which vanishes with it, and is hostile: no link in
it leads out, no hook and no setting of it is obeyed.
"""
