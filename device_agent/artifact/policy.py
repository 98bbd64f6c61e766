"""Which artifacts a device opens: whose signature counts, and what goes without one."""

from dataclasses import dataclass
from enum import StrEnum

from device_agent.artifact.reader import Header, Limits, TrustedKey
from device_agent.errors import UpdateRejected
from schemas.refusal import Code
from schemas.wire.report import FailureClass


class UnsignedBootstrap(StrEnum):
    """What becomes of a bootstrap artifact when no key is configured that could verify it."""

    REFUSE = "refuse"
    ACCEPT = "accept"


@dataclass(frozen=True, slots=True)
class ArtifactPolicy:
    """Which artifacts are opened. With `keys`, only those that one of them has signed."""

    keys: tuple[TrustedKey, ...] = ()
    unsigned_bootstrap: UnsignedBootstrap = UnsignedBootstrap.REFUSE
    limits: Limits | None = None


def expect_signed_bootstrap(header: Header, policy: ArtifactPolicy) -> None:
    """Raise UpdateRejected (E_SIGNATURE) for a bootstrap artifact that no key has verified.

    It changes what a device believes to run, and so what it accepts next.
    """
    accepted = policy.keys or policy.unsigned_bootstrap is UnsignedBootstrap.ACCEPT
    if header.is_bootstrap and not accepted:
        raise UpdateRejected(
            Code.SIGNATURE,
            f"{header.name} is a bootstrap artifact, and no key verifies it; configure"
            " artifacts.verify_keys, or let artifacts.unsigned_bootstrap accept it",
            FailureClass.SIGNATURE,
        )
