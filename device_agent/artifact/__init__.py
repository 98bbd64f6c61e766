"""Artifacts of Mender's format as a device reads them: streamed, checked, refused."""
