"""The names in an artifact: which are safe, and what the format's own ones mean. Pure."""

import re

from schemas.refusal import Code, Refusal
from schemas.wire.descriptor import Encoding

VERSION, MANIFEST, SIGNATURE, HEADER = "version", "manifest", "manifest.sig", "header.tar"
HEADER_INFO, SCRIPTS = "header-info", "scripts/"
ROOTFS_IMAGE = "rootfs-image"

_SUFFIXES = {"": Encoding.RAW, ".gz": Encoding.GZIP, ".xz": Encoding.XZ, ".zst": Encoding.ZSTD}
_PART = r"(?!\.{1,2}(?:/|$))[!-.0-\[\]-~]+"  # printable ASCII but space, slash and backslash
_INSIDE = re.compile(rf"(?![A-Za-z]:){_PART}(?:/{_PART})*")
_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")
_SCRIPT = re.compile(
    r"Artifact(?:Install|Reboot|Commit|Rollback|RollbackReboot|Failure)"
    r"_(?:Enter|Leave|Error)_[0-9]{2}(?:_[!-.0-\[\]-~]{1,100})?"
)


def expect_inside(path: str) -> None:
    """Raise Refusal (E_PATH) unless `path` names a file below where it is looked up."""
    if not _INSIDE.fullmatch(path):
        raise Refusal(Code.PATH, f"{path[:100]!r} is not a plain name inside the artifact")


def file_name(path: str, folder: str) -> str:
    """Return what of `path` is below `folder` (with its slash): one plain name, or Refusal."""
    name = path.removeprefix(folder)
    if not path.startswith(folder) or "/" in name:
        raise Refusal(Code.PATH, f"{path[:100]!r} is not a file directly in {folder or 'it'}")
    expect_inside(name)
    return name


def script_name(path: str) -> str:
    """Return the name of the state script at `path`. Raises Refusal (E_PATH, E_MODULE).

    An artifact brings scripts for the six states of its own installation; Idle, Sync and Download
    belong to the image.
    """
    name = file_name(path, SCRIPTS)
    if not _SCRIPT.fullmatch(name):
        raise Refusal(
            Code.MODULE,
            f"{name[:100]!r} is no name of an artifact's state script",
            remedy="such as ArtifactInstall_Enter_00_description",
        )
    return name


def expect_payload_type(text: str) -> None:
    """Raise Refusal (E_MODULE) unless `text` can be the name of an Update Module."""
    if not _TYPE.fullmatch(text):
        raise Refusal(Code.MODULE, f"{text[:100]!r} is not a payload type, which names a module")


def encoding_of(name: str, stem: str) -> Encoding | None:
    """Return how `name` says it is compressed, if it is `stem` and a known suffix."""
    return _SUFFIXES.get(name.removeprefix(stem)) if name.startswith(stem) else None


def packed(stem: str, encoding: Encoding) -> str:
    """Return `stem` with the suffix of `encoding`."""
    return stem + next(suffix for suffix, known in _SUFFIXES.items() if known is encoding)


def data_stem(index: int) -> str:
    return f"data/{index:04}.tar"


def data_folder(index: int) -> str:
    """Return where the manifest puts the files of payload `index`."""
    return f"data/{index:04}/"


def type_info(index: int) -> str:
    return f"headers/{index:04}/type-info"


def meta_data(index: int) -> str:
    return f"headers/{index:04}/meta-data"
