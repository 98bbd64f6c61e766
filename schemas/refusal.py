"""How input is refused: a stable code, what is wrong, and what to do. Pure."""

from enum import StrEnum


class Code(StrEnum):
    """Stable names of refusals, as reports, logs and documentation show them; never rename one."""

    AMBIGUOUS = "E_AMBIGUOUS"
    ANCHOR = "E_ANCHOR"
    CHAR = "E_CHAR"
    CLOCK = "E_CLOCK"
    COMPAT = "E_COMPAT"
    DEPTH = "E_DEPTH"
    DOWNGRADE = "E_DOWNGRADE"
    DUP = "E_DUP"
    ENCODING = "E_ENCODING"
    EXPIRED = "E_EXPIRED"
    FLEET = "E_FLEET"
    FORMAT = "E_FORMAT"
    HASH = "E_HASH"
    KEY = "E_KEY"
    LENGTH = "E_LENGTH"
    LIMIT = "E_LIMIT"
    MISMATCH = "E_MISMATCH"
    MODE = "E_MODE"
    MODULE = "E_MODULE"
    MULTI = "E_MULTI"
    NETWORK = "E_NETWORK"
    NOT_FOUND = "E_NOT_FOUND"
    NOT_RELEASED = "E_NOT_RELEASED"
    PATH = "E_PATH"
    POLICY = "E_POLICY"
    REDIRECT = "E_REDIRECT"
    REFERENCE = "E_REFERENCE"
    ROLLBACK = "E_ROLLBACK"
    SCHEMA = "E_SCHEMA"
    SIGNATURE = "E_SIGNATURE"
    SLOW = "E_SLOW"
    SPACE = "E_SPACE"
    STATE = "E_STATE"
    SYNTAX = "E_SYNTAX"
    TAG = "E_TAG"
    TRAILING = "E_TRAILING"
    TRUNCATED = "E_TRUNCATED"
    TYPE = "E_TYPE"
    VERSION = "E_VERSION"


class Refusal(Exception):
    """Input that must not be used. `where` is a path into the document, `remedy` what to do."""

    def __init__(self, code: Code, what: str, *, where: str = "", remedy: str = "") -> None:
        self.code, self.what, self.where, self.remedy = code, what, where, remedy
        super().__init__(str(self))

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        remedy = f" ({self.remedy})" if self.remedy else ""
        return f"{self.code}: {place}{self.what}{remedy}"
