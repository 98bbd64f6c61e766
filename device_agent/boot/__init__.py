"""Which slot starts: bootloader adapters, and the file bootloader's own part (`firmware`)."""
