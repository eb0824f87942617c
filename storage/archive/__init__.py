"""Layer archives: reading tar in every form that images use, and unpacking it inside one directory."""
