"""The JSON documents of a tree's `header/`, written anew as Mender's client writes them. Pure.

Its C++ client (5.x) indents by two spaces, and sorts keys without regard to case. Two things it
does are not done here: it drops one of two keys that differ in case only, and it rounds integers
beyond 64 bits.
"""

import json
from typing import Any

from device_agent.artifact.reader import rejected
from device_agent.errors import UpdateRejected
from schemas.artifact.json_object import parse_object
from schemas.refusal import Code, Refusal
from schemas.wire.report import FailureClass

LIMIT = 8 * 1024 * 1024  # bytes; deep nesting would make far more of a small document

_NOTHING = b"null"


def document(raw: bytes, where: str) -> bytes:
    """Return the JSON object in `raw`, which was read once already; `null` where there is none.

    Raises UpdateRejected: E_LIMIT, E_FORMAT (text that no file can hold), and what parse_object
    refuses.
    """
    if not raw.strip():
        return _NOTHING
    encoder = json.JSONEncoder(ensure_ascii=False, indent=2)
    written = bytearray()
    try:
        for piece in encoder.iterencode(_ordered(parse_object(raw, where))):
            written += piece.encode()
            if len(written) > LIMIT:
                raise _refused(Code.LIMIT, f"{where} has over {LIMIT} bytes once it is indented")
    except Refusal as refusal:
        raise rejected(refusal) from refusal
    except RecursionError as error:
        raise _refused(Code.LIMIT, f"{where} is nested too deeply") from error
    except UnicodeEncodeError as error:
        raise _refused(Code.FORMAT, f"{where} holds half a character: {error.reason}") from error
    return bytes(written)


def _ordered(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _ordered(value[key]) for key in sorted(value, key=str.lower)}
    if isinstance(value, list):
        return [_ordered(each) for each in value]
    return value


def _refused(code: Code, message: str) -> UpdateRejected:
    return UpdateRejected(code, message, FailureClass.POLICY)
