"""The reconciler: Git commits in, signed static files out; and the gateway that devices report to."""
