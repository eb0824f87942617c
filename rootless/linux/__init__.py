"""The Linux calls that Python's standard library lacks, one small checked function each.

Every function raises ``OSError`` whose message starts with the call's name and whose ``filename`` is the path
concerned. Nothing above this package calls the C library by itself.
"""
