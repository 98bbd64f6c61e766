"""The published tree over HTTP, for installations without a web server of their own.

A plain ASGI application: GET and HEAD of regular files, nothing else. What is named after its
content or version is immutable for caches; `metadata/timestamp.json` is not.
"""

import asyncio
import os
import re
import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from starlette.types import Receive, Scope, Send

from reconciler.http.ranges import Span, Unsatisfiable, matches, requested_span

CHUNK = 256 * 1024  # bytes
IMMUTABLE = "public, max-age=31536000, immutable"
REVALIDATE = "no-cache"
MAX_PATH = 1024  # characters
_SEGMENT = re.compile(r"[A-Za-z0-9_@+~-][A-Za-z0-9._@+~-]{0,254}")
_CONTENT = re.compile(
    r"(?:.*/)?(?P<digest>[0-9a-f]{64})(?:\..*)?"
)  # blobs, and TUF's <hash>.<name>
_VERSIONED = re.compile(r"metadata/(?:.*/)?[0-9]+\.[^/]+\.json")
_TYPES = {".json": "application/json"}


@dataclass(frozen=True, slots=True)
class _File:
    """An open file; whoever has it closes it."""

    descriptor: int
    size: int
    etag: str


class StaticTree:
    """Serves `directory`. `short` is for how many seconds caches may keep the timestamp, and the
    news that a file (such as the next root) is not there."""

    def __init__(self, directory: Path, *, short: int = 30) -> None:
        self._directory, self._short = directory, short

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        if scope["method"] not in ("GET", "HEAD"):
            await _empty(send, 405, {"allow": "GET, HEAD"})
            return
        path = _path_of(scope)
        file = await asyncio.to_thread(_open, self._directory, path) if path else None
        if path is None or file is None:
            await _empty(send, 404, {"cache-control": self._max_age()})
            return
        try:
            await self._answer(path, file, scope, receive, send)
        finally:
            os.close(file.descriptor)

    async def _answer(
        self, path: str, file: _File, scope: Scope, receive: Receive, send: Send
    ) -> None:
        asked = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        }
        headers = {
            "etag": file.etag,
            "cache-control": self._cache_control(path),
            "accept-ranges": "bytes",
        }
        if matches(asked.get("if-none-match", ""), file.etag):
            await _empty(send, 304, headers)
            return
        try:
            span = _span(asked, file) if scope["method"] == "GET" else None
        except Unsatisfiable:
            await _empty(send, 416, {"content-range": f"bytes */{file.size}"})
            return
        headers["content-type"] = _TYPES.get(Path(path).suffix, "application/octet-stream")
        headers["x-content-type-options"] = "nosniff"
        status = 200
        if span:
            status = 206
            headers["content-range"] = f"bytes {span.start}-{span.end - 1}/{file.size}"
        body = span or Span(0, file.size)
        headers["content-length"] = str(body.end - body.start)
        await _start(send, status, headers)
        if scope["method"] == "HEAD":
            await send({"type": "http.response.body", "body": b""})
            return
        await _stream(file, body, receive, send)

    def _cache_control(self, path: str) -> str:
        if path == "metadata/timestamp.json":
            return self._max_age()
        named = _VERSIONED.fullmatch(path) or _CONTENT.fullmatch(path)
        return IMMUTABLE if named else REVALIDATE

    def _max_age(self) -> str:
        return f"public, max-age={self._short}" if self._short else REVALIDATE


def _path_of(scope: Scope) -> str | None:
    """Return the path below the tree, or None for one that no published file has."""
    path = str(scope["path"])
    root = str(scope.get("root_path", ""))
    relative = path.removeprefix(root).removeprefix("/")
    if len(relative) > MAX_PATH:
        return None
    segments = relative.split("/")
    return relative if all(map(_SEGMENT.fullmatch, segments)) else None


def _open(directory: Path, path: str) -> _File | None:
    """Open a regular file without following a symbolic link below `directory`."""
    *folders, name = path.split("/")
    try:
        parent = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for folder in folders:
                flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
                below = os.open(folder, flags, dir_fd=parent)
                os.close(parent)
                parent = below
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            descriptor = os.open(name, flags, dir_fd=parent)
        finally:
            os.close(parent)
    except OSError:
        return None
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        return None
    return _File(descriptor, status.st_size, _etag(path, status))


def _etag(path: str, status: os.stat_result) -> str:
    """Return the digest in the file's name, the same on every mirror; else what a new file, which
    the publisher renames into place, never shares with the old one."""
    if match := _CONTENT.fullmatch(path):
        return f'"{match["digest"]}"'
    return f'"{status.st_ino:x}-{status.st_mtime_ns:x}-{status.st_size:x}"'


def _span(asked: Mapping[str, str], file: _File) -> Span | None:
    if "range" not in asked:
        return None
    if "if-range" in asked and asked["if-range"].strip() != file.etag:
        return None
    return requested_span(asked["range"], file.size)


async def _stream(file: _File, body: Span, receive: Receive, send: Send) -> None:
    """Send the bytes, chunk by chunk, until the reader is gone."""
    gone = asyncio.create_task(_disconnected(receive))
    try:
        position = body.start
        while position < body.end and not gone.done():
            count = min(CHUNK, body.end - position)
            chunk = await asyncio.to_thread(os.pread, file.descriptor, count, position)
            if not chunk:
                raise OSError(f"file shrank while it was sent, at byte {position}")
            position += len(chunk)
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        if position >= body.end:
            await send({"type": "http.response.body", "body": b""})
    finally:
        gone.cancel()
        with suppress(asyncio.CancelledError):
            await gone


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        continue


async def _start(send: Send, status: int, headers: Mapping[str, str]) -> None:
    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": pairs})


async def _empty(send: Send, status: int, headers: Mapping[str, str]) -> None:
    length = {} if status == 304 else {"content-length": "0"}
    await _start(send, status, {**headers, **length})
    await send({"type": "http.response.body", "body": b""})
