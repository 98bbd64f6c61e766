"""A tar archive as a stream of regular files: one pass forward, nothing kept, nothing extracted."""

from collections.abc import Iterable, Iterator

from schemas.artifact.ustar import BLOCK, END, Member, padding, parse
from schemas.refusal import Code, Refusal

PIECE = 256 * 1024  # bytes at most in one piece of content
RECORD = 20 * BLOCK  # bytes; tar programs fill the last record with zeros


class Archive:
    """The members of the tar archive in `chunks`, one after the other.

    `where` names it in refusals, `most` bounds the number of members. Every method raises Refusal:
    what ustar.parse refuses, E_DUP, E_LIMIT (over `most`), E_TRUNCATED, E_TRAILING.
    """

    def __init__(self, chunks: Iterable[bytes], where: str, most: int) -> None:
        self._bytes, self._where, self._most = _Bytes(chunks), where, most
        self._current: Member | None = None
        self._unread = 0  # bytes of the current member's content
        self._names = set[str]()
        self._ended = False

    def peek(self) -> Member | None:
        """Return the member that is next, or None at the archive's end."""
        if self._current is None and not self._ended:
            self._current = self._next()
        return self._current

    def expect(self, name: str) -> Member:
        """Return the next member if it is `name`: E_NOT_FOUND at the end, E_FORMAT if another."""
        member = self.peek()
        if member is None:
            raise self._refused(Code.NOT_FOUND, f"{name} is missing")
        if member.name != name:
            raise self._refused(Code.FORMAT, f"{member.name} stands where {name} must be")
        return member

    def content(self) -> Iterator[bytes]:
        """Yield what is left of the current member's content, in pieces."""
        while self._unread:
            yield self._piece()

    def small(self, limit: int) -> bytes:
        """Return the current member's content. E_LIMIT for over `limit` bytes, unread."""
        if self._unread > limit:
            name = self._current.name if self._current else ""
            raise self._refused(
                Code.LIMIT, f"{name} has {self._unread} bytes, at most {limit} are accepted"
            )
        return b"".join(self.content())

    def leave(self) -> None:
        """Go on to the next member; what was not read of this one is passed over."""
        if self._current is None:
            return
        for _ in self.content():
            pass
        if any(self._exactly(padding(self._current.size))):
            raise self._refused(Code.FORMAT, f"{self._current.name} is not padded with zeros")
        self._current = None

    def _next(self) -> Member | None:
        block = self._exactly(BLOCK)
        if block == END:
            self._end()
            return None
        try:
            member = parse(block)
        except Refusal as refusal:
            raise self._refused(refusal.code, refusal.what, refusal.remedy) from refusal
        if member.name in self._names:
            raise self._refused(Code.DUP, f"{member.name} stands twice")
        if len(self._names) == self._most:
            raise self._refused(Code.LIMIT, f"more than {self._most} members")
        self._names.add(member.name)
        self._unread = member.size
        return member

    def _end(self) -> None:
        """Expect the second block of zeros, then nothing but the filling of a record."""
        self._ended = True
        filled = 2 * BLOCK
        if self._exactly(BLOCK) != END:
            raise self._refused(Code.TRAILING, "something follows its end")
        while piece := self._bytes.some(PIECE):
            filled += len(piece)
            if filled > RECORD or any(piece):
                raise self._refused(Code.TRAILING, "something follows its end")

    def _piece(self) -> bytes:
        piece = self._bytes.some(min(self._unread, PIECE))
        if not piece:
            raise self._truncated()
        self._unread -= len(piece)
        return piece

    def _exactly(self, size: int) -> bytes:
        found = b""
        while len(found) < size:
            piece = self._bytes.some(size - len(found))
            if not piece:
                raise self._truncated()
            found += piece
        return found

    def _truncated(self) -> Refusal:
        return self._refused(Code.TRUNCATED, "it is cut off")

    def _refused(self, code: Code, what: str, remedy: str = "") -> Refusal:
        return Refusal(code, what, where=self._where, remedy=remedy)


class _Bytes:
    """Chunks of any size, taken in pieces of a size that is asked for."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._chunk, self._at = b"", 0

    def some(self, limit: int) -> bytes:
        """Return one byte to `limit` bytes; none at the end."""
        while self._at == len(self._chunk):
            chunk = next(self._chunks, None)
            if chunk is None:
                return b""
            self._chunk, self._at = chunk, 0
        if self._at == 0 and len(self._chunk) <= limit:
            piece = self._chunk
        else:
            piece = self._chunk[self._at : self._at + limit]
        self._at += len(piece)
        return piece
