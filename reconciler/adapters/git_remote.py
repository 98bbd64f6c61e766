"""Where the fleet repository lies and how git may go there: address checks, hardening, credentials.

Whatever a person configured is checked here once, before it comes near a command line. Secrets
travel in the environment of the one child that needs them, never in arguments or addresses.
"""

import base64
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from reconciler.errors import Misconfigured
from reconciler.settings import Git

MAX_TOKEN = 4096  # bytes
TOKEN_USER = "x-access-token"  # noqa: S105 - a user name that Git hosts ignore, not a secret
COMMIT_ID = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")

_HELPER = re.compile(r"[A-Za-z0-9][A-Za-z0-9+.-]*::")
_SCP = re.compile(r"(?:[\w.+-]+@)?(?:\[[0-9A-Fa-f:.]+\]|\w[\w.-]*):[^-].*")
_SCHEMES = {"https": "https", "ssh": "ssh", "file": "file"}
_KINDS = "an absolute path, file://, ssh://, user@host:path or https://"

# Only what git itself must know to verify a server may be inherited from our own environment.
INHERITED = frozenset({"GIT_EXEC_PATH", "GIT_SSL_CAINFO", "GIT_SSL_CAPATH"})

_HARDENED = {
    "GIT_ASKPASS": "",
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_PROTOCOL_FROM_USER": "0",
    "GIT_TERMINAL_PROMPT": "0",
}
_CONFIG = (
    ("core.hooksPath", "/dev/null"),
    ("credential.helper", ""),
    ("fetch.recurseSubmodules", "false"),
    ("fetch.unpackLimit", "1"),  # one fsynced pack a fetch instead of many loose files
    ("gc.autoDetach", "false"),
    ("http.followRedirects", "false"),
    ("maintenance.auto", "false"),
    ("protocol.ext.allow", "never"),
    ("transfer.fsckObjects", "true"),
)


@dataclass(frozen=True, slots=True)
class Environment:
    """Variables for a git child, on top of ours; `secrets` are cut out of whatever it says.

    Neither is in the repr: it may end in a traceback.
    """

    variables: Mapping[str, str] = field(repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Remote:
    """A checked address. `protocol` is the only one git may use; `path` is set on this machine."""

    url: str
    protocol: str
    branch: str
    path: Path | None = None

    @property
    def ref(self) -> str:
        return f"refs/heads/{self.branch}"

    def __str__(self) -> str:
        return shown(self.url)


def shown(text: str) -> str:
    """Return `text` without what stands between `://` and `@`: it may be a password."""
    return re.sub(r"://\S*@", "://***@", text)


def parse_remote(settings: Git) -> Remote:
    """Check `git.url`, `git.branch`, `git.allow_reset`. Raises Misconfigured without secrets."""
    if not settings.branch or settings.branch.startswith(("-", "refs/")):
        raise _wrong("branch", settings.branch, "give the branch's short name, such as `main`")
    if settings.allow_reset is not None and not COMMIT_ID.fullmatch(settings.allow_reset):
        raise _wrong("allow_reset", settings.allow_reset, "give the full commit id, lower case")
    url = settings.url
    if not url or url.startswith("-") or any(ord(c) < 0x20 or ord(c) == 0x7F for c in url):
        raise _wrong("url", url, f"give {_KINDS}")
    if _HELPER.match(url):
        raise _wrong("url", url, f"remote helpers are not allowed; give {_KINDS}")
    if "://" in url:
        return _with_scheme(url, settings.branch)
    if url.startswith("/"):
        return Remote(url, "file", settings.branch, Path(url))
    if _SCP.fullmatch(url):
        return Remote(url, "ssh", settings.branch)
    raise _wrong("url", url, f"give {_KINDS}")


def _with_scheme(url: str, branch: str) -> Remote:
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        _ = parts.port  # raises for one that is no number
    except ValueError as error:
        raise _wrong("url", url, f"it cannot be read; give {_KINDS}") from error
    protocol = _SCHEMES.get(parts.scheme)
    if protocol is None or url != url.strip() or " " in parts.netloc:
        raise _wrong("url", url, f"give {_KINDS}")
    if parts.password is not None or (protocol == "https" and parts.username is not None):
        raise _wrong(
            "url", url, "it holds credentials; put them into the file git.token_file names"
        )
    if protocol == "file":
        if parts.netloc:
            raise _wrong("url", url, "file: takes three slashes, file:///srv/git/fleet.git")
        return Remote(url, protocol, branch, Path(unquote(parts.path)))
    if not host or host.startswith("-") or (parts.username or "").startswith("-"):
        raise _wrong("url", url, "the host's name is missing or begins with `-`")
    return Remote(url, protocol, branch)


def _wrong(field: str, value: str, remedy: str) -> Misconfigured:
    return Misconfigured(f"git.{field}: {shown(value)!r} cannot be used: {remedy}")


def hardened(protocol: str, extra: Iterable[tuple[str, str]] = ()) -> dict[str, str]:
    """Return the variables that make git ignore the machine's configuration and do no more than
    we ask; the configuration entries `extra` come on top. `protocol` is the only one allowed."""
    entries = (*_CONFIG, *extra)
    variables = {**_HARDENED, "GIT_ALLOW_PROTOCOL": protocol, "GIT_CONFIG_COUNT": str(len(entries))}
    for number, (key, value) in enumerate(entries):
        variables[f"GIT_CONFIG_KEY_{number}"] = key
        variables[f"GIT_CONFIG_VALUE_{number}"] = value
    return variables


LOCAL = Environment(hardened("none"))
"""For children that look at the mirror only: no transport works, no secret is there."""


def environment_for(remote: Remote, settings: Git) -> Environment:
    """Return what a child that talks to `remote` needs. Reads the token anew: it may be rotated.

    Raises Misconfigured for a missing file and for credentials of another kind of remote.
    """
    if settings.token_file is not None and remote.protocol != "https":
        raise Misconfigured(f"git.token_file: tokens are for https, git.url is {remote}")
    if remote.protocol != "ssh" and (settings.ssh_key_file or settings.known_hosts_file):
        raise Misconfigured(
            f"git.ssh_key_file, git.known_hosts_file: these are for ssh, git.url is {remote}"
        )
    if remote.protocol == "ssh":
        command = _ssh_command(settings)
        return Environment(
            {**hardened("ssh"), "GIT_SSH_COMMAND": command, "GIT_SSH_VARIANT": "ssh"}
        )
    if settings.token_file is None:
        return Environment(hardened(remote.protocol))
    token = _token(settings.token_file)
    pair = token if ":" in token else f"{TOKEN_USER}:{token}"
    basic = base64.b64encode(pair.encode()).decode()
    # Bound to this address: git sends the header nowhere else.
    header = (f"http.{remote.url}.extraHeader", f"Authorization: Basic {basic}")
    secrets = (basic, token, token.partition(":")[2])
    return Environment(hardened("https", [header]), tuple(filter(None, secrets)))


def _token(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            content = stream.read(MAX_TOKEN + 1)
    except OSError as error:
        raise Misconfigured(f"git.token_file: {file}: {error.strerror}") from error
    try:
        token = content.decode("ascii").strip()
    except UnicodeDecodeError:
        token = ""
    if not token or len(content) > MAX_TOKEN or not token.isprintable():
        raise Misconfigured(
            f"git.token_file: {file}: write one line, the token, or user:token for hosts that "
            "ask for a user name"
        )
    return token


def _ssh_command(settings: Git) -> str:
    options = [
        "BatchMode=yes",
        "StrictHostKeyChecking=yes",
        "ClearAllForwardings=yes",
        "ControlPath=none",  # a shared connection would outlive the timeout
        f"ConnectTimeout={settings.timeout}",
    ]
    command = ["ssh"]
    if settings.known_hosts_file is not None:
        file = _ssh_file("known_hosts_file", settings.known_hosts_file)
        options.append(f'UserKnownHostsFile="{file}"')
    if settings.ssh_key_file is not None:
        options.append("IdentitiesOnly=yes")
        command += ["-i", _ssh_file("ssh_key_file", settings.ssh_key_file)]
    for option in options:
        command += ["-o", option]
    return shlex.join(command)


def _ssh_file(field: str, path: Path) -> str:
    """Return `path` as ssh reads it: it expands `%` and has no way to escape a quote."""
    if not path.is_file():
        raise Misconfigured(f"git.{field}: {path}: there is no such file")
    if '"' in str(path):
        raise Misconfigured(f"git.{field}: {path}: ssh cannot read a path with a quotation mark")
    return str(path).replace("%", "%%")
