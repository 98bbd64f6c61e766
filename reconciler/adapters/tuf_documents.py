"""Published documents, read back and decoded; a document that did not change is not read again."""

from collections.abc import Mapping
from typing import Any, TypeVar, cast

from reconciler.adapters.dir_layout import Layout, read_limited
from reconciler.adapters.tuf_published import Published
from reconciler.errors import Unavailable
from schemas.canonical import sha256_hex
from schemas.refusal import Refusal
from schemas.wire.decode import decode

T = TypeVar("T")


class Documents:
    """Decodes documents of the tree in `layout`, remembering each by its digest."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._decoded: dict[str, tuple[str, Any]] = {}

    def read(self, published: Published, prefix: str, kind: type[T], limit: int) -> Mapping[str, T]:
        """Return the documents under `prefix` by target path.

        Raises Unavailable for one that is damaged, OSError for one that cannot be read.
        """
        return {
            path: self._one(path, sha256, kind, limit)
            for path, sha256 in published.assigned.items()
            if path.startswith(prefix)
        }

    def _one(self, path: str, sha256: str, kind: type[T], limit: int) -> T:
        known = self._decoded.get(path)
        if known and known[0] == sha256:
            return cast(T, known[1])
        file = self._layout.target(path, sha256)
        data = read_limited(file, limit)
        if sha256_hex(data) != sha256:
            raise Unavailable(f"{file} is damaged; restore it from a copy of the tree")
        try:
            document = decode(kind, data, limit=limit)
        except Refusal as error:
            raise Unavailable(f"{file}: {error}; a newer fleetcd may have written it") from error
        self._decoded[path] = (sha256, document)
        return document
