"""Content-addressed images, unpacked layers, container directories and volumes of one user."""
