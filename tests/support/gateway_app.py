"""A gateway in process: the real application over a store in memory."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reconciler.http.app import create_app
from reconciler.http.metrics import Health
from reconciler.http.tokens import TokenFile
from schemas.canonical import sha256_hex
from schemas.wire.decode import encode
from schemas.wire.report import Event, Heartbeat
from tests.support.gateway_asgi import Answer, Caller
from tests.support.gateway_device import SigningDevice
from tests.support.gateway_world import StillView, Watch
from tests.support.memory_store import MemoryStore

JOSE = {"Content-Type": "application/jose"}
TOKEN, READ_TOKEN = "operator-token", "read-token"


@dataclass
class Gateway:
    watch: Watch = field(default_factory=Watch)
    view: StillView = field(default_factory=StillView)
    health: Health = field(default_factory=Health)
    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.store = MemoryStore(self.watch)
        self.call = Caller(
            create_app(
                store=self.store,
                view=self.view,
                health=self.health,
                clock=self.watch,
                **self.settings,
            )
        )

    def nonce(self) -> str:
        return str(self.call("GET", "/v1/nonce").json["nonce"])

    def enrol(self, device: SigningDevice, **claims: Any) -> Answer:
        payload = device.enrol_claims(self.nonce(), self.watch.now, **claims)
        body = device.sign(payload, typ="fleetcd-enrol+jws")
        return self.call("POST", "/v1/enrol", body, JOSE)

    def post(self, body: bytes) -> Answer:
        return self.call("POST", "/v1/report", body, JOSE)

    def report(
        self,
        device: SigningDevice,
        *events: Event,
        heartbeat: Heartbeat | None = None,
        nonce: str | None = None,
        seq: int | None = None,
    ) -> Answer:
        report = device.report(
            *events, heartbeat=heartbeat, nonce=nonce, seq=seq, at=self.watch.now
        )
        return self.post(device.sign(encode(report)))

    def listed(self, *devices: SigningDevice) -> None:
        names = {each.key: each.name for each in devices}
        self.store.learn(entries={}, listed=names, manifests={})

    def joined(self, name: str = "kiosk-0001", algorithm: str = "EdDSA") -> SigningDevice:
        """Return a device that is accepted and whose journal is known."""
        device = SigningDevice(name, algorithm)
        self.listed(device)
        assert self.enrol(device).status == 200
        refused = self.report(device)
        assert refused.status == 409
        assert self.report(device, nonce=refused.json["nonce"]).status == 200
        return device

    def operator(self, method: str, path: str, body: object = None, token: str = TOKEN) -> Answer:
        headers = {"Authorization": f"Bearer {token}"}
        if body is None:
            return self.call(method, f"/api/v1{path}", headers=headers)
        headers["Content-Type"] = "application/json"
        return self.call(method, f"/api/v1{path}", json.dumps(body).encode(), headers)


def token_file(folder: Path) -> TokenFile:
    path = folder / "tokens"
    path.write_text(
        "# name, hash of the token\n"
        f"ann {sha256_hex(TOKEN.encode())}\n"
        f"dashboard {sha256_hex(READ_TOKEN.encode())} read\n"
    )
    return TokenFile(path)
