"""A device as the gateway sees it: a key, a journal, and signed bodies. Builders, not fixtures."""

import base64
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from schemas.canonical import key_id
from schemas.wire.report import Event, EventKind, FailureClass, Heartbeat, Outcome, Report

NOW = datetime(2026, 11, 24, 7, 0, tzinfo=UTC)
OLD_SET, NEW_SET = "0" * 15 + "1", "0" * 15 + "2"


def event(
    rollout: str | None,
    *,
    state: str = "download",
    outcome: Outcome | None = None,
    failure: FailureClass | None = None,
    set: str | None = NEW_SET,
    attempt: int | None = 1,
    message: str | None = None,
) -> Event:
    return Event(
        id=secrets.token_hex(16),
        kind=EventKind.FINISHED if outcome else EventKind.STATE,
        at=NOW,
        boot_id="boot-1",
        rollout=rollout,
        set=set,
        attempt=attempt,
        state=state,
        outcome=outcome,
        failure=failure,
        message=message,
    )


def heartbeat(running: str | None = OLD_SET, **changes: Any) -> Heartbeat:
    told: dict[str, Any] = {
        "set": running,
        "running": None,
        "fleet": "kiosks",
        "state": "idle",
        "timestamp_version": 1,
        "clock_trusted": True,
        "agent": "fleetcd-agent/0.1.0",
        "boot_id": "boot-1",
    }
    return Heartbeat(**{**told, **changes})


def compact(header: Mapping[str, Any], payload: bytes, private: Any, algorithm: str) -> bytes:
    """Return a JWS with exactly this header, signed by `algorithm`."""
    text = json.dumps({**header}).encode()
    signing = b64(text) + b"." + b64(payload)
    signer = jwt.get_algorithm_by_name(algorithm)
    return signing + b"." + b64(signer.sign(signing, private))


def b64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


@dataclass
class SigningDevice:
    name: str = "kiosk-0001"
    algorithm: str = "EdDSA"
    private: Any = None
    journal: str = field(default_factory=lambda: secrets.token_hex(16))
    seq: int = 0

    def __post_init__(self) -> None:
        if self.private is None:
            es256 = self.algorithm == "ES256"
            self.private = (
                ec.generate_private_key(ec.SECP256R1()) if es256 else Ed25519PrivateKey.generate()
            )

    @property
    def der(self) -> bytes:
        return bytes(
            self.private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        )

    @property
    def key(self) -> str:
        return key_id(self.der)

    @property
    def public_key(self) -> str:
        return base64.b64encode(self.der).decode()

    def report(
        self,
        *events: Event,
        heartbeat: Heartbeat | None = None,
        nonce: str | None = None,
        seq: int | None = None,
        at: datetime = NOW,
    ) -> Report:
        """Return the next report, or one with the number `seq`."""
        self.seq = self.seq + 1 if seq is None else seq
        moment = int(at.timestamp())
        return Report(
            iss=self.key,
            aud="fleetcd-report",
            iat=moment,
            exp=moment + 120,
            journal=self.journal,
            seq=self.seq,
            heartbeat=heartbeat,
            events=events,
            nonce=nonce,
        )

    def sign(self, payload: bytes, *, typ: str = "fleetcd-report+jws", **header: Any) -> bytes:
        whole = {"alg": self.algorithm, "kid": self.key, "typ": typ, **header}
        return compact(whole, payload, self.private, self.algorithm)

    def enrol_claims(self, nonce: str, at: datetime = NOW, **changes: Any) -> bytes:
        moment = int(at.timestamp())
        claims = {
            "aud": "fleetcd-enrol",
            "iat": moment,
            "exp": moment + 60,
            "nonce": nonce,
            "name": self.name,
            "publicKey": self.public_key,
            "facts": {},
        }
        return json.dumps({**claims, **changes}).encode()
