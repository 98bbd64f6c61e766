"""A real Git repository to push to and a GitSource that reads it, for tests."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from reconciler.adapters.git_source import GitSource
from reconciler.settings import Git

_DATES = 1_700_000_000  # the first commit's time, in seconds since 1970


@dataclass(slots=True)
class Upstream:
    """A bare repository `bare` and a clone `work` that pushes to it."""

    root: Path
    object_format: str = "sha1"
    commits: int = 0

    def __post_init__(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        flags = ("--quiet", f"--object-format={self.object_format}", "--initial-branch=main")
        self._run("init", *flags, "--bare", str(self.bare))
        self._run("init", *flags, str(self.work))

    @property
    def bare(self) -> Path:
        return self.root / "fleet.git"

    @property
    def work(self) -> Path:
        return self.root / "work"

    def git(self, *arguments: str, stdin: bytes = b"") -> str:
        """Run git in the clone and return what it wrote."""
        return self._run("-C", str(self.work), *arguments, stdin=stdin)

    def write(self, path: str, content: bytes) -> None:
        file = self.work / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)

    def commit(self, files: dict[str, bytes]) -> str:
        """Commit `files` on top of what is there and return the commit's id; push nothing."""
        for path, content in files.items():
            self.write(path, content)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", "change")
        return self.head()

    def push(self, files: dict[str, bytes]) -> str:
        """Commit `files`, push to main and return the commit's id."""
        commit = self.commit(files)
        self.push_head()
        return commit

    def push_head(self, branch: str = "main") -> None:
        self.git("push", "--quiet", "--force", str(self.bare), f"HEAD:refs/heads/{branch}")

    def head(self) -> str:
        return self.git("rev-parse", "HEAD").strip()

    def _run(self, *arguments: str, stdin: bytes = b"") -> str:
        self.commits += 1
        date = f"{_DATES + self.commits} +0000"
        environment = {
            "PATH": os.defpath + ":/usr/local/bin",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_AUTHOR_NAME": "Ada",
            "GIT_AUTHOR_EMAIL": "ada@example.org",
            "GIT_COMMITTER_NAME": "Ada",
            "GIT_COMMITTER_EMAIL": "ada@example.org",
            "GIT_AUTHOR_DATE": date,
            "GIT_COMMITTER_DATE": date,
        }
        ended = subprocess.run(
            ["git", *arguments], input=stdin, env=environment, capture_output=True, timeout=30
        )
        assert ended.returncode == 0, ended.stderr.decode()
        return ended.stdout.decode()


opened: list[GitSource] = []
"""What tests have opened; tests/conftest.py closes it. The kernel's watches are few."""


def steady() -> float:
    """A jitter of nothing."""
    return 0.0


def source_of(url: str | Path, state: Path, **settings: object) -> GitSource:
    """Return a GitSource that polls rarely and gives up early, unless `settings` say otherwise."""
    values = {"url": str(url), "poll": 3600, "timeout": 20, **settings}
    source = GitSource(Git.model_validate(values), state, steady)
    opened.append(source)
    return source
