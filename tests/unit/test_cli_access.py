"""What the operator's commands say about an address, token or authority that cannot be right."""

from pathlib import Path

import pytest

from reconciler.cli.operator_client import access
from reconciler.errors import Misconfigured


@pytest.fixture(autouse=True)
def no_saved_access(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))


@pytest.mark.parametrize(
    "url", ["updates.example.com", "http://updates.example.com", "https://", "https://a:99999"]
)
def test_an_address_that_is_not_https_is_refused_with_what_to_write(url: str) -> None:
    with pytest.raises(Misconfigured, match="write https://HOST:PORT"):
        access(url, "token", None)


@pytest.mark.parametrize("token", ["\u2026", "two\nlines"])
def test_a_token_that_no_header_can_carry_is_refused_without_being_shown(token: str) -> None:
    with pytest.raises(Misconfigured, match="copy it again") as error:
        access("https://a", token, None)
    assert token not in str(error.value)


def test_an_authority_that_is_no_certificate_is_named(tmp_path: Path) -> None:
    for name, text in (("absent.pem", None), ("root.json", "{}")):
        file = tmp_path / name
        if text is not None:
            file.write_text(text)
        with pytest.raises(Misconfigured, match=f"{name}: no .*tls/ca.pem|{name}: No such file"):
            access("https://a", "token", file)


def test_the_address_may_end_in_a_slash() -> None:
    assert access("https://a:8443/", "token", None).url == "https://a:8443"
