"""Boot variables: the words that the agent and the bootloader leave for each other."""

from collections.abc import Mapping
from typing import Protocol


class Variables(Protocol):
    """Where the words are kept: U-Boot's environment, GRUB's, one copy of them or several.

    Both methods raise InstallFailed (REBOOT), which says what to do about it.
    """

    def read(self) -> Mapping[str, str]:
        """Return all variables as they are stored now. One that is not there has no key."""
        ...

    def write(self, changes: Mapping[str, str]) -> None:
        """Store `changes` beside the other variables; the value "" removes one. Again: no effect.

        After a power cut at any moment, read() returns all of `changes` or none of them; once this
        returned, all. Names and values are printable ASCII, and no name has `=` in it.
        """
        ...
