"""An x86-64 board with Debian's GRUB, in QEMU: power cuts and damage."""

import pytest

from tests.qemu.grub import GrubKind
from tests.qemu.stories import BoardAccidents

pytestmark = pytest.mark.qemu_all


class TestGrub(BoardAccidents):
    kind = GrubKind()
