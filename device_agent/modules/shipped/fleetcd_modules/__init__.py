"""The code of the shipped Update Modules.

Modules run outside the agent's environment, by whatever `python3` the device has: so this is the
standard library of Python 3.9, and imports nothing of ours but its own files.
"""
