"""A child's end is noticed when it comes, whatever its pipes say."""

import os
import time
from pathlib import Path

import pytest

from device_agent import process
from device_agent.process import run

MUTE = ["sh", "-c", "exec >&- 2>&-; sleep 0.05; exit 3"]  # its pipes say nothing of its end
LATE = 10.0  # seconds
ENVIRONMENT = {"PATH": os.defpath}


def descriptors() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir()}


def test_the_end_of_a_mute_child_is_noticed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_LOOK", LATE)
    began = time.monotonic()
    assert run(MUTE, timeout=LATE, environment=ENVIRONMENT).status == 3
    assert time.monotonic() - began < LATE / 2


def test_it_is_noticed_by_a_kernel_that_cannot_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(pid: int, flags: int = 0) -> int:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(os, "pidfd_open", unknown)
    assert run(MUTE, timeout=LATE, environment=ENVIRONMENT).status == 3


def test_no_descriptor_is_left_open() -> None:
    before = descriptors()
    run(MUTE, timeout=LATE, environment=ENVIRONMENT)
    assert descriptors() == before
