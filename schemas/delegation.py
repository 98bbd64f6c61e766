"""What a role may delegate to: every key once, and no more bins than a device can look at.

Pure. For both sides: what a device refuses, the reconciler neither signs nor publishes.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
)

from schemas.refusal import Code, Refusal

MAX_BIN_BITS: Final = 12  # 4,096 bins; the published tree has 256


def check_delegation(signed: Mapping[str, Any]) -> None:
    """Raise Refusal for what tuf would accept of the `signed` part of root or targets metadata.

    E_SIGNATURE: two key ids name one key. tuf counts ids, so that its holder alone would meet a
    threshold of two (TUF 1.0.34 section 4.2: a key counts once). E_LIMIT: bins without end, which
    an online key may declare in one line. What is malformed otherwise is left to tuf.
    """
    delegator = signed if "keys" in signed else signed.get("delegations")
    if not isinstance(delegator, dict):
        return
    _refuse_doubles(delegator.get("keys"))
    bins = delegator.get("succinct_roles")
    bits = bins.get("bit_length") if isinstance(bins, dict) else None
    if type(bits) is int and bits > MAX_BIN_BITS:
        raise Refusal(Code.LIMIT, f"2^{bits} bins are delegated to, at most 2^{MAX_BIN_BITS}")


def _refuse_doubles(keys: object) -> None:
    seen: dict[str, str] = {}
    for key_id, key in keys.items() if isinstance(keys, dict) else ():
        first = seen.setdefault(_identity(key), key_id)
        if first != key_id:
            raise Refusal(
                Code.SIGNATURE,
                f"key ids {first[:16]} and {str(key_id)[:16]} name the same key",
                remedy="give every holder of a threshold a key of their own",
            )


def _identity(key: object) -> str:
    """Return the same text for the same public key, however it is written."""
    value = key.get("keyval") if isinstance(key, dict) else key
    public = value.get("public") if isinstance(value, dict) else None
    if not isinstance(public, str):
        return json.dumps(value, sort_keys=True)
    try:  # a point may be compressed or not, and a PEM may carry words around it
        loaded = load_pem_public_key(public.encode())
    except (ValueError, UnsupportedAlgorithm):
        return "".join(public.split()).lower()
    return loaded.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo).hex()
