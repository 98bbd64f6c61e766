"""The directory that a module works in (Update Module protocol v3, "File API"), byte for byte."""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from device_agent import durable
from device_agent.modules.mounts import detach_below
from device_agent.modules.payload import Header

STREAM_NEXT, STREAMS, FILES = "stream-next", "streams", "files"

_PAYLOAD_TYPE = "header/payload_type"
_TYPE_LIMIT = 256  # bytes


@dataclass(frozen=True, slots=True)
class Current:
    """What the device has before the update. `artifact_name` None: nothing is known."""

    artifact_name: str | None
    artifact_group: str | None
    device_type: str


class Tree:
    """One component's tree. It lives from before Download until after Cleanup."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.stream_next = path / STREAM_NEXT
        self.streams, self.files = path / STREAMS, path / FILES

    @property
    def exists(self) -> bool:
        """Say whether it is there. A link in its place leads to somewhere else: it is gone."""
        return self.path.is_dir() and not self.path.is_symlink()

    @property
    def payload_type(self) -> str | None:
        """Return whose tree this is; None where none is, or none that was ever whole."""
        try:
            with (self.path / _PAYLOAD_TYPE).open("rb") as file:
                return file.read(_TYPE_LIMIT).decode("ascii", "replace") or None
        except OSError:
            return None

    def create(self, current: Current, header: Header) -> None:
        """Make the tree anew, on the disk before this returns. Raises OSError."""
        self.remove()
        durable.make_directory(self.path)
        for directory in ("header", "tmp"):
            (self.path / directory).mkdir(mode=0o700)
        for name, content in _contents(current, header).items():
            (self.path / name).write_bytes(content)
        self.sync()

    def open_streams(self) -> None:
        """Add what exists only during Download."""
        self.close_streams()
        os.mkfifo(self.stream_next, 0o600)
        self.streams.mkdir(mode=0o700)

    def close_streams(self) -> None:
        self.stream_next.unlink(missing_ok=True)
        shutil.rmtree(self.streams, ignore_errors=True)

    def sync(self) -> None:
        """Bring every file and directory of the tree to the disk. Raises OSError."""
        for directory, _, names in os.walk(self.path, topdown=False):
            for name in names:
                _sync_file(Path(directory, name))
            durable.sync_directory(Path(directory))
        durable.sync_directory(self.path.parent)

    def remove(self) -> None:
        """Remove the tree with everything that the module left in it, or in its place.

        Again: no effect.
        """
        if self.exists:
            detach_below(self.path)
            shutil.rmtree(self.path)
        elif os.path.lexists(self.path):
            self.path.unlink()
        else:
            return
        durable.sync_directory(self.path.parent)


def _contents(current: Current, header: Header) -> Mapping[str, bytes]:
    """Return the files' exact bytes: a newline after what is current, none in `header/`. Pure."""
    return {
        "version": b"3\n",
        "current_artifact_name": _line(current.artifact_name),
        "current_artifact_group": _line(current.artifact_group),
        "current_device_type": _line(current.device_type),
        "header/artifact_name": header.artifact_name.encode(),
        "header/artifact_group": header.artifact_group.encode(),
        _PAYLOAD_TYPE: header.payload_type.encode(),
        "header/header-info": header.header_info,
        "header/type-info": header.type_info,
        "header/meta-data": header.meta_data,
    }


def _line(value: str | None) -> bytes:
    return b"" if value is None else f"{value}\n".encode()


def _sync_file(path: Path) -> None:
    if path.is_symlink() or not path.is_file():
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
