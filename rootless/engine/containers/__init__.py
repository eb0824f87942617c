"""What can be done with containers, a use case a module, each loaded when its command is given."""
