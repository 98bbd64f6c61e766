"""Addresses carry secrets: signatures in queries, passwords before hosts. No message shows them."""

import pytest

from device_agent.errors import UpdateRejected
from device_agent.fetch.http import Network
from device_agent.fetch.url import parse_url, shown
from device_agent.standalone_http import HttpSource
from schemas.refusal import Refusal

ADDRESSES = [
    "https://user:hush@a.example/app.mender",
    "https://user:hush@a.example/app.mender?sig=hush",
    "https://a.example/app mender?sig=hush",
    "https://a.example:port/app.mender?sig=hush",
    "ftp://user:hush@a.example/app.mender?sig=hush",
    "https://user:hush@/app.mender",
    "http://user:hush@a.example/app.mender?sig=hush",
]


@pytest.mark.parametrize("text", ADDRESSES)
def test_no_refusal_shows_what_is_secret_in_an_address(text: str) -> None:
    with pytest.raises(UpdateRejected) as refused:
        list(HttpSource(text, Network()).chunks())
    assert "hush" not in str(refused.value)
    with pytest.raises(Refusal) as wrong:
        parse_url(text)
    assert "hush" not in str(wrong.value)


def test_what_is_no_secret_is_shown() -> None:
    assert shown("https://a.example:8443/x/app.mender?a=b") == "https://a.example:8443/x/app.mender"
    assert shown("app.mender") == "app.mender"
