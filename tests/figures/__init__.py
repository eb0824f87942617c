"""The figures of attacks and faults, as a table: see ``__main__``."""
