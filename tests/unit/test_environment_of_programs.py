"""What programs that the agent starts find in their environment: the agent's, but not its own."""

import pytest

from device_agent.app_device import MODULE_PATH, environment

INHERITED = {"HTTPS_PROXY": "http://proxy:3128", "TZ": "UTC", "DPKG_ROOT": "/", "PATH": "/opt/bin"}


def test_programs_inherit_the_agents_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in INHERITED.items():
        monkeypatch.setenv(name, value)
    assert INHERITED.items() <= environment().items()


def test_programs_have_a_path_and_a_language_when_the_agent_has_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("PATH")
    monkeypatch.delenv("LANG", raising=False)
    assert {"PATH": MODULE_PATH, "LANG": "C.UTF-8"}.items() <= environment().items()


@pytest.mark.parametrize(
    "name",
    [
        "PYTHONPATH",
        "PYTHONHOME",
        "PYTHONSTARTUP",
        "NOTIFY_SOCKET",
        "WATCHDOG_PID",
        "WATCHDOG_USEC",
        "LISTEN_PID",
        "LISTEN_FDS",
        "LISTEN_FDNAMES",
    ],
)
def test_what_is_for_the_agents_process_alone_is_not_inherited(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "1")
    assert name not in environment()
