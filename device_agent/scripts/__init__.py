"""State scripts: an image's own, and those that artifacts bring (Mender's documentation)."""
