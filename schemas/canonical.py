"""Canonical JSON and the identifiers made from it (docs/protocol.md section 1). Pure."""

import hashlib
import json
from collections.abc import Mapping

from schemas.refusal import Code, Refusal

Json = None | bool | int | str | list["Json"] | dict[str, "Json"]

MAX_INTEGER = 2**53 - 1


def canonical(value: object) -> bytes:
    """Return the one spelling of `value`: sorted keys, no spaces, UTF-8, no floats.

    Raises Refusal (E_FORMAT) for a float, an integer beyond 2**53 - 1 or a non-string key, and
    (E_ENCODING) for text with a lone surrogate, which UTF-8 cannot hold.
    """
    _check(value)
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        half = ascii(text[error.start])
        raise Refusal(Code.ENCODING, f"{half} is half a character (a lone surrogate)") from error


def _check(value: object) -> None:
    match value:
        case None | bool() | str():
            pass
        case int():
            if abs(value) > MAX_INTEGER:
                raise Refusal(Code.FORMAT, f"integer {value} is beyond 2^53 - 1")
        case dict():
            for key, item in value.items():
                if not isinstance(key, str):
                    raise Refusal(Code.FORMAT, f"key {key!r} is not a string")
                _check(item)
        case list() | tuple():
            for item in value:
                _check(item)
        case _:
            raise Refusal(Code.FORMAT, f"{type(value).__name__} has no canonical form")


def sha256_hex(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def set_id(components: object, config: object, vars: object) -> str:
    """Return the name of a component set: 16 hex digits over its canonical content."""
    content = {"components": components, "config": config, "vars": vars}
    return sha256_hex(canonical(content))[:16]


def rollout_id(fleet: str, set: str, attempt: int) -> str:
    """Return `r-` and 8 hex digits: the same fleet, set and attempt are the same rollout."""
    content = {"attempt": attempt, "fleet": fleet, "set": set}
    return "r-" + sha256_hex(canonical(content))[:8]


def key_id(subject_public_key_info: bytes) -> str:
    """Return `sha256:` and 64 hex digits over a public key's SubjectPublicKeyInfo DER."""
    return "sha256:" + sha256_hex(subject_public_key_info)


def shard_of(key: str) -> str:
    """Return the shard (first 3 hex digits) that holds the entry of device key id `key`."""
    return key.removeprefix("sha256:")[:3]


def labels_text(labels: Mapping[str, str]) -> str:
    """Return labels as people write selectors: `product=kiosk,stage=dev`."""
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
