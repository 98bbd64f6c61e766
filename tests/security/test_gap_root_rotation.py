"""Roots that must not be followed, and one that must: the chain of trust is never shortened.

The numbers are those of tests/security/cases.toml.
"""

from base64 import encodebytes
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from securesystemslib.signer import CryptoSigner, Key, SSlibKey
from tuf.api.metadata import DelegatedRole, Metadata, MetaFile, TargetFile
from tuf.api.serialization.json import JSONSerializer

from schemas.delegation import check_delegation
from schemas.refusal import Code, Refusal
from tests.support.documents import MANIFEST
from tests.support.trust_device import FLEET_PATH, RELEASED, TrustDevice, trusting_device


@pytest.fixture
def device(tmp_path: Path) -> Iterator[TrustDevice]:
    with trusting_device(tmp_path) as device:
        yield device


def write_next_root(device: TrustDevice, *signers: CryptoSigner) -> None:
    device.tree.root.version += 1
    metadata = Metadata(device.tree.root)
    for signer in signers:
        metadata.sign(signer, append=True)
    data = metadata.to_bytes(JSONSerializer(compact=True))
    device.tree.write(f"{device.tree.root.version}.root.json", data)


def replace_root_key(device: TrustDevice) -> tuple[CryptoSigner, CryptoSigner]:
    """Name another key for root in the body that is written next; return the old and the new."""
    old, new = device.tree.keys["root"], CryptoSigner.generate_ed25519()
    device.tree.root.revoke_key(old.public_key.keyid, "root")
    device.tree.root.add_key(new.public_key, "root")
    return old, new


def same_under(key: Key, key_id: str) -> SSlibKey:
    return SSlibKey(key_id, key.keytype, key.scheme, dict(key.keyval))


def stays_refused_until_mended(device: TrustDevice, code: Code) -> None:
    """The tree is refused twice, for its root alone: without that it is accepted as before."""
    for _ in range(2):
        with device.refused(code):
            device.trust().refresh()
    (device.tree.directory / "metadata" / "2.root.json").unlink()
    assert device.trust().refresh().manifest == MANIFEST


def test_1_a_root_that_only_its_new_keys_signed_is_refused(device: TrustDevice) -> None:
    _, new = replace_root_key(device)
    write_next_root(device, new)
    stays_refused_until_mended(device, Code.SIGNATURE)


def test_2_a_root_that_only_its_old_keys_signed_is_refused(device: TrustDevice) -> None:
    old, _ = replace_root_key(device)
    write_next_root(device, old)
    stays_refused_until_mended(device, Code.SIGNATURE)


def test_2_a_root_that_old_and_new_keys_signed_is_followed(device: TrustDevice) -> None:
    write_next_root(device, *replace_root_key(device))
    assert device.trust().refresh().manifest == MANIFEST
    assert device.cached("root_history/2.root.json").exists()


def test_3_a_root_that_skips_a_version_is_refused(device: TrustDevice) -> None:
    device.tree.root.version = 3
    device.tree.write_root()
    device.tree.write("2.root.json", device.tree.read("3.root.json"))
    stays_refused_until_mended(device, Code.VERSION)


def test_4_a_signature_that_stands_twice_counts_once(device: TrustDevice) -> None:
    ours, other = device.tree.keys["root"], CryptoSigner.generate_ed25519()
    device.tree.root.add_key(other.public_key, "root")
    device.tree.root.roles["root"].threshold = 2
    write_next_root(device, ours)
    data = device.tree.read("2.root.json")
    start, end = data.index(b'[{"keyid"') + 1, data.index(b'],"signed"')
    once = data[start:end]
    device.tree.write("2.root.json", data[:start] + once + b"," + once + data[end:])
    stays_refused_until_mended(device, Code.FORMAT)


def test_5_a_key_under_two_ids_is_not_two_holders_of_root(device: TrustDevice) -> None:
    ours = device.tree.keys["root"]
    twin = same_under(ours.public_key, "b" * 64)
    device.tree.root.add_key(twin, "root")
    device.tree.root.roles["root"].threshold = 2
    write_next_root(device, ours, CryptoSigner(ours._private_key, twin))
    stays_refused_until_mended(device, Code.SIGNATURE)


def test_5_a_key_under_two_ids_is_not_two_holders_of_a_release(device: TrustDevice) -> None:
    delegations = device.tree.targets["releases"].delegations
    assert delegations is not None
    assert delegations.roles is not None
    ours = device.tree.keys["releases"].public_key
    delegations.keys["b" * 64] = same_under(ours, "b" * 64)
    role = delegations.roles["releases-kiosk-os"]
    role.keyids.append("b" * 64)
    role.threshold = 2
    device.tree.changed.add("releases")
    device.tree.publish()
    signed_by_both(device, "releases-kiosk-os", same_under(ours, "b" * 64))
    trust = device.trust()
    trust.refresh()
    with device.refused(Code.SIGNATURE):
        trust.descriptor(RELEASED)


def signed_by_both(device: TrustDevice, role: str, twin: SSlibKey) -> None:
    signer = device.tree.key_of(role)
    metadata = Metadata(device.tree.targets[role])
    for each in (signer, CryptoSigner(signer._private_key, twin)):
        metadata.sign(each, append=True)
    name = f"{metadata.signed.version}.{role}.json"
    device.tree.write(name, metadata.to_bytes(JSONSerializer(compact=True)))


def test_5_a_key_is_the_same_however_it_is_written() -> None:
    public = generate_private_key(SECP256R1()).public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    prefix = bytes.fromhex("3039301306072a8648ce3d020106082a8648ce3d030107032200")
    short = prefix + public.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    for other in (pem.replace("\n", "\r\n"), f"words\n{pem}", in_pem(short)):
        refuse_pair(pem, other)
    refuse_pair("ab" * 32, "AB " * 32)
    check_delegation({"keys": {"a": with_public(pem), "b": with_public("cd" * 32)}})


def refuse_pair(one: str, other: str) -> None:
    keys = {"a": with_public(one), "b": with_public(other)}
    for signed in ({"keys": keys}, {"delegations": {"keys": keys}}):
        with pytest.raises(Refusal, match="E_SIGNATURE"):
            check_delegation(signed)


def with_public(text: str) -> dict[str, object]:
    return {"keytype": "ecdsa", "scheme": "x", "keyval": {"public": text}}


def in_pem(der: bytes) -> str:
    return f"-----BEGIN PUBLIC KEY-----\n{encodebytes(der).decode()}-----END PUBLIC KEY-----\n"


@pytest.mark.parametrize("keys", [None, [], {"a": None}, {"a": {"keyval": []}}, {"a": {}}])
def test_5_what_are_no_keys_is_left_to_the_parser(keys: object) -> None:
    check_delegation({"keys": keys})
    check_delegation({"delegations": {"keys": keys, "succinct_roles": []}})


def test_6_a_last_root_that_has_expired_is_refused(device: TrustDevice) -> None:
    valid = device.tree.root.expires
    device.tree.root.expires = device.tree.now - timedelta(hours=1)
    write_next_root(device, device.tree.keys["root"])
    with device.refused(Code.EXPIRED):
        device.trust().refresh()
    device.tree.root.expires = valid
    write_next_root(device, device.tree.keys["root"])
    assert device.trust().refresh().manifest == MANIFEST


def test_7_an_expired_root_on_the_way_to_a_valid_one_is_passed(device: TrustDevice) -> None:
    valid = device.tree.root.expires
    device.tree.root.expires = device.tree.now - timedelta(days=100)
    write_next_root(device, device.tree.keys["root"])
    device.tree.root.expires = valid
    write_next_root(device, device.tree.keys["root"])
    assert device.trust().refresh().manifest == MANIFEST
    assert device.cached("root_history/3.root.json").exists()


def test_8_a_root_that_is_missing_on_the_way_stops_the_device_where_it_is(
    device: TrustDevice,
) -> None:
    device.tree.rotate("online")
    missing = device.tree.read("2.root.json")
    device.tree.rotate("timestamp")
    device.tree.snapshot.version += 1
    device.tree.write_snapshot()
    device.tree.refresh_timestamp()
    (device.tree.directory / "metadata" / "2.root.json").unlink()
    with device.refused(Code.SIGNATURE):  # nothing after the gap is believed
        device.trust().refresh()
    device.clock.ahead = timedelta(days=364)
    with device.refused(Code.SIGNATURE):
        device.trust().refresh()
    device.clock.ahead = timedelta()
    device.tree.write("2.root.json", missing)
    assert device.trust().refresh().manifest == MANIFEST


def test_10_a_revoked_key_does_not_come_back_with_an_older_root_when_the_cache_is_gone(
    device: TrustDevice,
) -> None:
    stolen = device.tree.keys["timestamp"]
    device.tree.rotate("timestamp")
    device.tree.refresh_timestamp()
    device.trust().refresh()
    second = device.tree.read("2.root.json")
    (device.tree.directory / "metadata" / "2.root.json").unlink()
    ours, device.tree.keys["timestamp"] = device.tree.keys["timestamp"], stolen
    device.tree.refresh_timestamp()
    device.lose_cache()
    with device.refused(Code.ROLLBACK):
        device.trust().refresh()
    device.tree.write("2.root.json", second)
    device.tree.keys["timestamp"] = ours
    device.tree.refresh_timestamp()
    assert device.trust().refresh().manifest == MANIFEST


def test_27_a_hash_that_makes_no_address_is_refused(device: TrustDevice) -> None:
    role = device.tree.role_of(FLEET_PATH)
    hashes = {"a": "a b/../", "sha256": "0" * 64}  # the first one becomes part of the URL
    device.tree.targets[role].targets[FLEET_PATH] = TargetFile(10, hashes, FLEET_PATH)
    device.tree.changed.add(role)
    device.tree.publish()
    with device.refused(Code.PATH):
        device.trust().refresh()


def test_27_a_role_whose_name_makes_no_address_is_refused(device: TrustDevice) -> None:
    delegations = device.tree.targets["releases"].delegations
    assert delegations is not None
    assert delegations.roles is not None
    key, name = device.tree.keys["releases"].public_key.keyid, "r" * 3000
    delegations.roles = {name: DelegatedRole(name, [key], 1, False, paths=["releases/*/*"])}
    device.tree.snapshot.meta[f"{name}.json"] = MetaFile(1)
    device.tree.changed.add("releases")
    device.tree.publish()
    trust = device.trust()
    trust.refresh()
    with device.refused(Code.PATH):
        trust.descriptor(RELEASED)


def test_28_bins_without_end_are_refused(device: TrustDevice) -> None:
    delegations = device.tree.targets["assignments"].delegations
    assert delegations is not None
    assert delegations.succinct_roles is not None
    delegations.succinct_roles.bit_length = 32
    device.tree.changed = {"assignments"}
    device.tree.publish()
    with device.refused(Code.LIMIT):
        device.trust().refresh()
