"""A table of Containerfiles, each built by this program and by buildah, whose images are compared.

A module a subject; `case` tells what a case is, `bases` which images it may begin with, `builders` how it is built and
`compare` what of the results must be equal. `python -m tests.build_cases` tries some and prints what differs.
"""
