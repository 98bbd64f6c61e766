"""The words of the Update Module protocol, version 3, and how strictly answers are read. Pure.

Source: Mender's Documentation/update-modules-v3-file-api.md, and its client's observable behaviour.
"""

from enum import StrEnum

from device_agent.core.component import RebootNeed


class Call(StrEnum):
    """A module's first argument."""

    PROVIDE_PAYLOAD_FILE_SIZES = "ProvidePayloadFileSizes"
    DOWNLOAD = "Download"
    DOWNLOAD_WITH_FILE_SIZES = "DownloadWithFileSizes"
    ARTIFACT_INSTALL = "ArtifactInstall"
    NEEDS_ARTIFACT_REBOOT = "NeedsArtifactReboot"
    ARTIFACT_REBOOT = "ArtifactReboot"
    ARTIFACT_VERIFY_REBOOT = "ArtifactVerifyReboot"
    ARTIFACT_COMMIT = "ArtifactCommit"
    SUPPORTS_ROLLBACK = "SupportsRollback"
    ARTIFACT_ROLLBACK = "ArtifactRollback"
    ARTIFACT_ROLLBACK_REBOOT = "ArtifactRollbackReboot"
    ARTIFACT_VERIFY_ROLLBACK_REBOOT = "ArtifactVerifyRollbackReboot"
    ARTIFACT_FAILURE = "ArtifactFailure"
    CLEANUP = "Cleanup"


class ProtocolError(Exception):
    """A module answered what the protocol does not know."""


_YES_OR_NO = {"Yes": True, "No": False, "": False}
_REBOOT = {
    "No": RebootNeed.NO,
    "": RebootNeed.NO,
    "Yes": RebootNeed.MODULE,
    "Automatic": RebootNeed.AGENT,
}


def answer(output: bytes) -> str:
    """Return the one line of a query's output, blanks and all.

    Empty lines after it are allowed, text is not. A carriage return belongs to its line.
    """
    first, *others = output.decode("utf-8", "backslashreplace").split("\n")
    if any(others):
        raise ProtocolError("more than one line was answered")
    return first


def yes_or_no(output: bytes) -> bool:
    """Return the answer to ProvidePayloadFileSizes or SupportsRollback; silence means No."""
    line = answer(output)
    if line not in _YES_OR_NO:
        raise ProtocolError(f"{line[:60]!r} was answered, not Yes or No")
    return _YES_OR_NO[line]


def reboot_need(output: bytes) -> RebootNeed:
    """Return the answer to NeedsArtifactReboot; silence means No."""
    line = answer(output)
    if line not in _REBOOT:
        raise ProtocolError(f"{line[:60]!r} was answered, not No, Yes or Automatic")
    return _REBOOT[line]
