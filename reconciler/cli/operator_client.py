"""The operator API from outside: where it is, who asks, and every failure in words."""

import json
import os
import ssl
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

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
    return Access(_https(str(url)), _printable(str(token)), ca and _authority(ca))


def _https(url: str) -> str:
    try:
        parts = urlsplit(url)
        fits = parts.scheme == "https" and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, a broken IPv6 address
        fits = False
    if not fits:
        raise Misconfigured(
            f"url {url!r}: write https://HOST:PORT, as in [gateway] of fleetcd.toml"
        )
    return url.rstrip("/")


def _printable(token: str) -> str:
    if not (token.isascii() and token.isprintable()):
        raise Misconfigured("the token holds characters that no token has; copy it again")
    return token


def _authority(ca: Path) -> Path:
    try:
        ssl.create_default_context(cafile=ca)
    except OSError as error:  # of which SSLError is one
        why = "no certificate in PEM" if isinstance(error, ssl.SSLError) else error.strerror
        raise Misconfigured(
            f"{ca}: {why}; --ca and FLEETCD_CA name the gateway's authority, tls/ca.pem of"
            " `fleetcd init`"
        ) from error
    return ca


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
        except (OSError, HTTPError) as error:
            raise _unreachable(self._access.url, error) from error
        if answer.status_code == 401:
            raise Misconfigured(
                f"{self._access.url}: the operator token is not accepted; `fleetcd init` showed it,"
                " and operator-tokens on the server has the hashes of those that are"
            )
        try:
            document = json.loads(body)
        except ValueError as error:
            raise Unavailable(
                f"{url}: answered {answer.status_code} and no JSON; is the url the gateway's?"
            ) from error
        if answer.status_code >= 500:
            raise Unavailable(f"{url}: {document.get('detail', answer.status_code)}")
        if not answer.ok:
            raise ReconcilerError(str(document.get("detail", answer.status_code)))
        return document


def _unreachable(url: str, error: Exception) -> ReconcilerError:
    """Return the error in words: requests and urllib3 wrap the cause several times."""
    cause = _cause(error)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return Misconfigured(
            f"{url}: its certificate is not trusted: {cause.verify_message}; name its authority"
            " with --ca or FLEETCD_CA, and the host as in the certificate (`fleetcd init --name`)"
        )
    why = cause.strerror if isinstance(cause, OSError) and cause.strerror else str(cause)
    return Unavailable(f"{url}: {why}; is the address right, and `fleetcd run` at work there?")


def _cause(error: BaseException) -> BaseException:
    for _ in range(8):  # more than there are layers
        wrapped = (getattr(error, "reason", None), *error.args, error.__cause__)
        inner = next((each for each in wrapped if isinstance(each, BaseException)), None)
        if inner is None:
            break
        error = inner
    return error
