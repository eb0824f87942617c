"""A container engine and runtime for people without root and without a daemon."""

__version__ = "0.1.0"
