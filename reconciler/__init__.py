"""The reconciler: Git commits in, signed static files out; and the gateway for reports."""
