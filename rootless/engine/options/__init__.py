"""What the user asked for: the strings of the command line, parsed; each parser is loaded when its flag is given."""
