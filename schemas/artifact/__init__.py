"""Mender's artifact format, version 3, as far as it is pure: bytes in, words or a refusal out."""
