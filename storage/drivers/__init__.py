"""Storage drivers: kernel overlay, fuse-overlayfs and copy."""
