"""What is wrong with a commit: file, line, column, field, and what to do about it. Pure."""

from dataclasses import dataclass

from schemas.refusal import Code


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One mistake in a fleet repository. Line and column count from 1; 0 means the whole file."""

    file: str
    line: int
    column: int
    field: str
    code: Code
    message: str
    remedy: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        field = f"{self.field}: " if self.field else ""
        remedy = f" ({self.remedy})" if self.remedy else ""
        return f"{place}: {self.code}: {field}{self.message}{remedy}"
