"""Reading Containerfiles: bytes to instructions, without a file system, a network or variables.

`parse` makes a `model.Containerfile` of a file; `expand` puts variables into its texts when an instruction is executed.
The rules are those of Docker's reference and, where that is silent, of what BuildKit does.
"""
