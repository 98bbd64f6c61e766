"""The reconciler's own configuration (`fleetcd.toml`): secrets and bootstrap do not belong in the
repository that they unlock. Relative paths are relative to the file."""

import tomllib
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from reconciler.errors import Misconfigured

_WORDS = {"extra_forbidden": "unknown key; docs/operations.md lists them", "missing": "is missing"}

Seconds = Annotated[int, Field(ge=1, le=31_536_000)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Git(_Section):
    """`token_file` is for https, `ssh_key_file` and `known_hosts_file` for ssh."""

    url: str
    branch: str = "main"
    poll: Seconds = 60
    timeout: Seconds = 60
    token_file: Path | None = None
    ssh_key_file: Path | None = None
    known_hosts_file: Path | None = None
    allow_reset: str | None = None  # a commit id that may replace history once


class Tree(_Section):
    """`directory` is what any web server may serve; `url` is where devices find it."""

    directory: Path
    url: str


class Keys(_Section):
    """Signer URIs: `file:PATH` of an Ed25519 private key in PEM."""

    online: str
    timestamp: str


class State(_Section):
    directory: Path
    database: str = ""  # an SQLAlchemy URL; empty: SQLite in `directory`

    @property
    def database_url(self) -> str:
        return self.database or f"sqlite:///{self.directory / 'fleetcd.db'}"


class Gateway(_Section):
    """`operator_tokens` is a file of lines `name sha256-of-token`."""

    listen: str = "127.0.0.1:8443"
    url: str = ""
    certificate: Path | None = None
    key: Path | None = None
    operator_tokens: Path | None = None
    serve_tree: bool = True


class Rollouts(_Section):
    """Hints that every manifest carries. `fresh_for` 0 means for ever (air-gapped sites)."""

    poll: Seconds = 300
    poll_rolling: Seconds = 60
    fresh_for: Annotated[int, Field(ge=0, le=31_536_000)] = 60
    heartbeat: Seconds = 3600
    heartbeat_rolling: Seconds = 300
    tick: Annotated[float, Field(ge=0.1, le=3600)] = 5.0  # how often gates are looked at


class Settings(_Section):
    git: Git
    tree: Tree
    keys: Keys
    state: State
    gateway: Gateway = Gateway()
    rollouts: Rollouts = Rollouts()

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read `path`. Raises Misconfigured that names the field and what is wrong with it."""
        try:
            document = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise Misconfigured(
                f"{path}: {error.strerror}; make one with `fleetcd init`, or name it with --config"
            ) from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise Misconfigured(f"{path}: {error}") from error
        try:
            settings = cls.model_validate(document)
        except ValidationError as error:
            lines = (
                f"{path}: {'.'.join(map(str, problem['loc']))}: "
                + _WORDS.get(problem["type"], problem["msg"])
                for problem in error.errors(include_url=False)
            )
            raise Misconfigured("\n".join(lines)) from error
        return settings._relative_to(path.resolve().parent)

    def _relative_to(self, base: Path) -> Self:
        def anchor(section: BaseModel) -> dict[str, Any]:
            return {
                name: base / value
                for name in type(section).model_fields
                if isinstance(value := getattr(section, name), Path)
            }

        sections = {
            name: section.model_copy(update=anchor(section))
            for name in type(self).model_fields
            if isinstance(section := getattr(self, name), BaseModel)
        }
        return self.model_copy(update=sections)
