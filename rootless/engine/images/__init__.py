"""What can be done with images, a use case a module; a start needs only :mod:`.resolve`."""
