"""An arm64 board with Debian's U-Boot, in QEMU: the real agent, the real reconciler."""

import pytest

from tests.qemu.stories import BoardStories
from tests.qemu.uboot import UBootKind

pytestmark = [pytest.mark.qemu, pytest.mark.ci]


class TestUBoot(BoardStories):
    kind = UBootKind()
