"""What a container may do: capabilities, system call filter, hidden paths; and the confinement of our own helpers."""
