"""An x86-64 board with Debian's GRUB, in QEMU: the real agent, the real reconciler."""

import pytest

from tests.qemu.grub import GrubKind
from tests.qemu.stories import BoardStories

pytestmark = pytest.mark.qemu_all


class TestGrub(BoardStories):
    kind = GrubKind()
