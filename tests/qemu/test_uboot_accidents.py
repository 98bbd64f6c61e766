"""An arm64 board with Debian's U-Boot, in QEMU: power cuts and damage."""

import pytest

from tests.qemu.stories import BoardAccidents
from tests.qemu.uboot import UBootKind

pytestmark = [pytest.mark.qemu, pytest.mark.ci]


class TestUBoot(BoardAccidents):
    kind = UBootKind()
