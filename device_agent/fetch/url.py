"""Which addresses the agent talks to, and which redirects it follows. Pure."""

from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

from schemas.refusal import Code, Refusal

MAX_URL = 2048
_PORTS = {"https": 443, "http": 80}


@dataclass(frozen=True, slots=True)
class Url:
    """An address that may be asked. `target` is what the request line carries."""

    scheme: str
    host: str
    port: int
    target: str

    @property
    def origin(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == _PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}"

    @property
    def whole(self) -> str:
        return self.origin + self.target

    def __str__(self) -> str:
        """Return it for people: without the query, where storage services put signatures."""
        return self.origin + self.target.partition("?")[0]


def parse_url(text: str, http_hosts: Collection[str] = ()) -> Url:
    """Return the address in `text`. http:// is refused unless its host is in `http_hosts`.

    Raises Refusal: E_PATH for what is not a plain absolute URL, E_POLICY for http://.
    """
    if len(text) > MAX_URL or not text.isascii() or any(c <= " " or c in '\\\x7f"<>' for c in text):
        raise Refusal(Code.PATH, f"{shown(text)!r} is not a URL", remedy="percent-encode it")
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise Refusal(Code.PATH, f"{shown(text)!r} is not a URL: {error}") from error
    if parts.scheme not in _PORTS or not host:
        raise Refusal(Code.PATH, f"{shown(text)!r} is not an https:// URL")
    if parts.username is not None or parts.fragment:
        raise Refusal(Code.PATH, f"the URL of host {host} carries a user name or a fragment")
    if parts.scheme == "http" and host not in http_hosts:
        raise Refusal(
            Code.POLICY,
            f"http://{host} is not encrypted",
            remedy="use https://, or list the host under http_hosts on the device",
        )
    query = f"?{parts.query}" if parts.query else ""
    return Url(parts.scheme, host, port or _PORTS[parts.scheme], (parts.path or "/") + query)


def shown(text: str) -> str:
    """Return what may be a URL, for people and logs: without query, user name and password."""
    before, slashes, rest = text.partition("?")[0].partition("//")
    authority, slash, path = rest.partition("/")
    return f"{before}{slashes}{authority.rpartition('@')[2]}{slash}{path}"[:80]


def redirected(asked: Url, location: str | None, http_hosts: Collection[str] = ()) -> Url:
    """Return where `location` leads from `asked`. Raises Refusal (E_REDIRECT); never to http://."""
    if not location:
        raise Refusal(Code.REDIRECT, f"{asked.host} redirects to nowhere")
    try:
        url = parse_url(urljoin(asked.whole, location), http_hosts)
    except (Refusal, ValueError) as error:
        raise Refusal(
            Code.REDIRECT, f"{asked.host} redirects to a place refused: {error}"
        ) from error
    if asked.scheme == "https" and url.scheme != "https":
        raise Refusal(Code.REDIRECT, f"{asked.host} redirects from https:// to http://{url.host}")
    return url
