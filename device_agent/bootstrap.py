"""The bootstrap artifact: what an image says of itself, taken once by a device that knows nothing.

Source: Mender's "automatic bootstrap artifact". Ours has to be signed, unless configured otherwise.
"""

import logging
from pathlib import Path

from device_agent import durable
from device_agent.artifact.policy import ArtifactPolicy, expect_signed_bootstrap
from device_agent.artifact.provides import contents, expect_fitting, provides_after
from device_agent.artifact.reader import Artifact
from device_agent.errors import TransientError, UpdateRejected
from device_agent.journal import Journal
from device_agent.standalone_source import FileSource
from schemas.refusal import Code
from schemas.wire.report import FailureClass

log = logging.getLogger(__name__)


def take(
    path: Path, journal: Journal, policy: ArtifactPolicy, device_type: str
) -> UpdateRejected | None:
    """Let the device provide what the artifact at `path` says, unless it provides something.

    Then the file is removed, whatever came of it; with a journal or a disk that is away, later.
    Returns why the artifact was refused: that keeps nothing else away, so it is not raised.
    """
    refused = None
    try:
        if not journal.provides():
            refused = _refusal(path, journal, policy, device_type)
        durable.remove(path)
    except (TransientError, OSError) as error:
        log.warning("the bootstrap artifact %s is looked at again: %s", path, error)
    return refused


def _refusal(
    path: Path, journal: Journal, policy: ArtifactPolicy, device_type: str
) -> UpdateRejected | None:
    try:
        _install(path, journal, policy, device_type)
    except UpdateRejected as error:
        return error
    return None


def _install(path: Path, journal: Journal, policy: ArtifactPolicy, device_type: str) -> None:
    artifact = Artifact(FileSource(path).chunks(), keys=policy.keys, limits=policy.limits)
    header = artifact.header
    if not header.is_bootstrap:
        message = f"{header.name} has a payload; install it by hand, or as a release"
        raise UpdateRejected(Code.TYPE, message, FailureClass.POLICY)
    expect_signed_bootstrap(header, policy)
    expect_fitting(header, {}, device_type)
    for _ in artifact.files():
        """Nothing comes; it is checked to its end."""
    journal.drop_standalone(provides_after(contents(header), {}))
    log.info("this device is %s, as its image says", header.name)
