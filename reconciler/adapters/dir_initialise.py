"""`fleetcd init`: keys, signed tree, certificates, configuration and an example repository."""

import hashlib
import json
import secrets
import socket
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from reconciler.adapters.dir_certificates import make_certificates
from reconciler.adapters.dir_release import read_release, signed_files
from reconciler.adapters.dir_repository import copy_example, example_repository, make_repository
from reconciler.adapters.durable import Disk, Medium, create_private, make_directory
from reconciler.adapters.signers import create_key
from reconciler.adapters.tuf_found import found_tree
from reconciler.adapters.tuf_published import read_release_files
from reconciler.adapters.tuf_releases import SIGNED
from reconciler.adapters.tuf_roles import RoleKeys
from reconciler.adapters.tuf_signing import add_descriptor
from reconciler.errors import Misconfigured, Unavailable
from schemas.kinds.release import descriptor

BRANCH = "main"
LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Initialised:
    """Where everything lies. `operator_token` is shown once; only its hash is stored."""

    directory: Path
    config: Path
    keys: Path
    tree: Path
    root: Path
    ca: Path
    repository: Path
    clone: Path
    url: str
    tree_url: str
    operator_token: str


def initialise(
    directory: Path,
    now: datetime,
    *,
    listen: str = "127.0.0.1:8443",
    url: str | None = None,
    names: tuple[str, ...] = (),
    example: Path | None = None,
    disk: Disk | None = None,
) -> Initialised:
    """Make a whole installation in `directory`, which must be absent or empty.

    `url` is where devices reach the gateway (default https://localhost:PORT), which serves the
    tree at `/tree`; `names` are further host names and addresses for the certificate. `example`
    replaces the packaged example repository. Raises Misconfigured (something is there) and
    Unavailable (disk, Git).
    """
    medium = disk or Medium()
    base = directory.resolve()
    address = (url or f"https://localhost:{listen.rpartition(':')[2]}").rstrip("/")
    made = Initialised(
        directory=base,
        config=base / "fleetcd.toml",
        keys=base / "keys",
        tree=base / "tree",
        root=base / "root.json",
        ca=base / "tls" / "ca.pem",
        repository=base / "fleet.git",
        clone=base / "fleet",
        url=address,
        tree_url=f"{address}/tree",
        operator_token=secrets.token_urlsafe(32),
    )
    try:
        _claim(base)
        keys = _make_keys(made.keys)
        root = found_tree(made.tree, keys, medium, now)
        medium.write([(made.root, root)])
        _make_certificates(made, medium, names, now)
        _make_clone(made, keys, medium, example or example_repository(), now)
        make_repository(made.repository, made.clone, BRANCH)
        make_directory(base / "state")
        token_hash = hashlib.sha256(made.operator_token.encode()).hexdigest()
        create_private(base / "operator-tokens", f"admin {token_hash}\n".encode())
        medium.write([(made.config, _config(made, listen).encode())])
    except OSError as error:
        raise Unavailable(f"{error.filename or base}: {error.strerror or error}") from error
    return made


def _claim(directory: Path) -> None:
    """Refuse a directory that holds anything: keys and trees are never overwritten."""
    make_directory(directory)
    if any(directory.iterdir()):
        raise Misconfigured(f"{directory} is not empty; choose a new directory for `fleetcd init`")


def _make_keys(directory: Path) -> RoleKeys:
    make_directory(directory)
    directory.chmod(0o700)
    return RoleKeys(
        root=(create_key(directory / "root.pem"),),
        targets=(create_key(directory / "targets.pem"),),
        release=(create_key(directory / "release.pem"),),
        online=create_key(directory / "online.pem"),
        timestamp=create_key(directory / "timestamp.pem"),
    )


def _make_certificates(
    made: Initialised, disk: Disk, names: tuple[str, ...], now: datetime
) -> None:
    wanted = dict.fromkeys((*names, *LOCAL_NAMES, socket.gethostname()))
    certificates = make_certificates(tuple(wanted), now)
    folder = made.ca.parent
    disk.write([(made.ca, certificates.ca), (folder / "server.pem", certificates.server)])
    create_private(folder / "server.key", certificates.server_key)


def _make_clone(
    made: Initialised, keys: RoleKeys, disk: Disk, example: Path, now: datetime
) -> None:
    """Copy the example and sign its releases with the new release key."""
    make_directory(made.clone)
    copy_example(example, made.clone)
    signed = dict(read_release_files(made.tree)) | dict(signed_files(made.clone))
    for file in sorted((made.clone / "releases").rglob("*.yaml")):
        path = str(file.relative_to(made.clone))
        release = descriptor(read_release(path, file.read_bytes()))
        signed |= add_descriptor(signed, {}, release, keys.release, now)
    disk.write((made.clone / SIGNED / name, data) for name, data in signed.items())


def _config(made: Initialised, listen: str) -> str:
    """Return `fleetcd.toml`. A JSON string is a TOML string."""
    text = {
        name: json.dumps(str(value), ensure_ascii=False)
        for name, value in {
            "repository": made.repository,
            "branch": BRANCH,
            "url": made.url,
            "tree_url": made.tree_url,
            "online": f"file:{made.keys / 'online.pem'}",
            "timestamp": f"file:{made.keys / 'timestamp.pem'}",
            "listen": listen,
        }.items()
    }
    return f"""\
# Made by `fleetcd init`. Relative paths are relative to this file.

[git]
url = {text["repository"]}
branch = {text["branch"]}

[tree]
directory = "tree"
url = {text["tree_url"]}

[keys]  # the keys in use; keep root.pem, targets.pem and release.pem away from this machine
online = {text["online"]}
timestamp = {text["timestamp"]}

[state]
directory = "state"

[gateway]
listen = {text["listen"]}
url = {text["url"]}
certificate = "tls/server.pem"
key = "tls/server.key"
operator_tokens = "operator-tokens"
"""
