"""TUF's stock client, reading a tree's files directly, with a memory of its own as a device has."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from tuf.api.exceptions import DownloadHTTPError
from tuf.ngclient.fetcher import FetcherInterface
from tuf.ngclient.updater import Updater

BASE = "http://tree/"


class _Files(FetcherInterface):
    def __init__(self, root: Path) -> None:
        self._root = root

    def _fetch(self, url: str) -> Iterator[bytes]:
        path = self._root / url.removeprefix(BASE)
        if not path.is_file():
            raise DownloadHTTPError(f"{url} is absent", 404)
        yield path.read_bytes()


class StockClient:
    """Reads the tree at `tree`, trusting `root`; `memory` is its cache, kept between reads."""

    def __init__(self, tree: Path, root: bytes, memory: Path) -> None:
        self._tree, self._root, self._memory = tree, root, memory
        memory.mkdir()

    def read(self, *paths: str, now: datetime) -> list[bytes | None]:
        """Refresh once, and return the documents at `paths`; None for those that are not listed."""
        updater = Updater(
            str(self._memory),
            f"{BASE}metadata/",
            str(self._memory),
            f"{BASE}targets/",
            _Files(self._tree),
            bootstrap=self._root,
        )
        updater._trusted_set.reference_time = now  # tests live at a time of their own
        updater.refresh()
        found = [updater.get_targetinfo(path) for path in paths]
        return [
            Path(updater.download_target(info)).read_bytes() if info else None for info in found
        ]
