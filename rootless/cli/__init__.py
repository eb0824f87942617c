"""The command line: declarations, parsing, and handlers that print what the engine answers."""
