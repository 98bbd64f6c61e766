"""The operator API from outside: where it is, who asks, and every failure in words."""

import json
import os
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from urllib3.exceptions import HTTPError

from reconciler.errors import Misconfigured, ReconcilerError, Unavailable

TIMEOUT = (5, 30)  # seconds to connect, to read
MAX_ANSWER = 16 * 1024 * 1024  # bytes
MAX_PAGES, PAGE = 2000, 500


@dataclass(frozen=True, slots=True)
class Access:
    """Where the gateway is, the operator's token, the authority to trust (None: the system's)."""

    url: str
    token: str
    ca: Path | None = None


def access(url: str | None, token: str | None, ca: Path | None) -> Access:
    """Return what was given, or else what stands in the configuration file.

    The options' values come from flags or from FLEETCD_URL, FLEETCD_TOKEN and FLEETCD_CA. Raises
    Misconfigured: what is missing and the three places to put it.
    """
    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    path = home / "fleetcd" / "config.toml"
    saved = _saved(path)
    url, token = url or saved.get("url"), token or saved.get("token")
    for name, value in (("url", url), ("token", token)):
        if not value:
            raise Misconfigured(
                f"no {name}: give --{name}, set FLEETCD_{name.upper()}, or write `{name} = …`"
                f" into {path}"
            )
    if ca is None and "ca" in saved:
        ca = path.parent / saved["ca"]
    return Access(str(url).rstrip("/"), str(token), ca)


def _saved(path: Path) -> dict[str, str]:
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Misconfigured(f"{path}: {error}") from error
    for name, value in document.items():
        if name not in ("url", "token", "ca") or not isinstance(value, str):
            raise Misconfigured(f"{path}: {name}: only url, token and ca are known, as text")
    return document


class OperatorClient:
    """Reads nothing from the environment: no proxy, no .netrc, no other authority."""

    def __init__(self, access: Access) -> None:
        self._access, self._session = access, requests.Session()
        self._session.trust_env = False
        self._session.verify = str(access.ca) if access.ca else True
        self._session.headers["Authorization"] = f"Bearer {access.token}"

    def get(self, path: str, **parameters: str | int) -> Any:
        """Return the JSON at `path`. Raises Unavailable, Misconfigured or ReconcilerError."""
        return self._asked(
            lambda url: self._session.get(
                url, params=parameters, timeout=TIMEOUT, allow_redirects=False, stream=True
            ),
            path,
        )

    def post(self, path: str, body: Mapping[str, object]) -> Any:
        return self._asked(
            lambda url: self._session.post(
                url, json=body, timeout=TIMEOUT, allow_redirects=False, stream=True
            ),
            path,
        )

    def all(self, path: str, **parameters: str | int) -> Iterator[dict[str, Any]]:
        """Yield the items of every page."""
        after = ""
        for _ in range(MAX_PAGES):
            page = self.get(path, limit=PAGE, after=after, **parameters)
            yield from page["items"]
            after = page["next"]
            if after is None:
                return
        raise Unavailable(f"{path}: more than {MAX_PAGES} pages")

    def _asked(self, ask: Callable[[str], requests.Response], path: str) -> Any:
        url = f"{self._access.url}/api/v1{path}"
        try:
            with ask(url) as answer:
                body = answer.raw.read(MAX_ANSWER, decode_content=True)
        except (OSError, HTTPError) as error:  # a missing CA file is an OSError as well
            raise Unavailable(f"{url}: {error}") from error
        if answer.status_code == 401:
            raise Misconfigured(f"{self._access.url}: the operator token is not accepted")
        try:
            document = json.loads(body)
        except ValueError as error:
            raise Unavailable(f"{url}: answered {answer.status_code} and no JSON") from error
        if answer.status_code >= 500:
            raise Unavailable(f"{url}: {document.get('detail', answer.status_code)}")
        if not answer.ok:
            raise ReconcilerError(str(document.get("detail", answer.status_code)))
        return document
