"""Signing `timestamp.json`, the one file that makes a new tree visible."""

from collections.abc import Callable
from copy import copy
from datetime import datetime

from securesystemslib.signer import Signer
from tuf.api.metadata import MetaFile, Timestamp

from reconciler.adapters.dir_layout import Layout
from reconciler.adapters.durable import Disk, Medium
from reconciler.adapters.lease import short_lock
from reconciler.adapters.tuf_published import read_timestamp
from reconciler.adapters.tuf_roles import issue, read_own, signed_bytes
from reconciler.errors import Unavailable
from reconciler.ports import Step, no_step

TIMESTAMP_STEP = "timestamp"


def replace_timestamp(
    layout: Layout,
    signer: Signer,
    now: datetime,
    *,
    names: Callable[[Timestamp], MetaFile],
    disk: Disk,
    step: Step,
) -> tuple[Timestamp, bytes]:
    """Sign and put in place the next timestamp, over the snapshot that `names` returns.

    `names` is given the timestamp that is on the disk, under the lock: it may refuse by raising,
    which makes this a compare-and-swap. Returns what was written.
    """
    with short_lock(layout.swap):
        data = read_timestamp(layout)
        new = copy(read_own(Timestamp, data, signer.public_key, str(layout.timestamp)))
        new.snapshot_meta = names(new)
        new.version += 1
        new.unrecognized_fields = dict(new.unrecognized_fields)
        issue(new, now)
        raw = signed_bytes(new, [signer])
        step(TIMESTAMP_STEP)
        disk.write([(layout.timestamp, raw)])
        return new, raw


def refresh_timestamp(
    layout: Layout,
    signer: Signer,
    now: datetime,
    *,
    disk: Disk | None = None,
    step: Step = no_step,
) -> int:
    """Sign a new timestamp over the same snapshot and return its version.

    Needs the timestamp key and the directory only, and may run in a process of its own beside
    the reconciler: both hold the same short lock. Raises Unavailable, Misconfigured.
    """
    try:
        stamp, _ = replace_timestamp(
            layout,
            signer,
            now,
            names=lambda stamp: stamp.snapshot_meta,
            disk=disk or Medium(),
            step=step,
        )
    except OSError as error:
        raise Unavailable(f"{layout.timestamp}: {error.strerror or error}") from error
    return stamp.version
