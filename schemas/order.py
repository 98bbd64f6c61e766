"""A device's place in a rollout (docs/protocol.md section 2). Pure, and never to change."""

import hashlib

LAST = "f" * 16  # the cut-off that admits everybody


def order(rollout: str, device: str) -> str:
    """Return 16 hex digits: the first 8 bytes of SHA-256(rollout, 0x00, device name).

    Salted with the rollout, so that no device is always the canary. Compare as text.
    """
    return hashlib.sha256(rollout.encode() + b"\0" + device.encode()).hexdigest()[:16]
