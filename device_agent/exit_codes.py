"""How `fleetcd-agent` and the daemon's child end. Documented in `fleetcd-agent --help`."""

from enum import IntEnum


class ExitCode(IntEnum):
    DONE = 0  # converged, or nothing to do
    FAILED = 1  # the deployment failed and was undone
    USAGE = 2  # a wrong command line or configuration
    WAITING = 3  # a deployment waits: for the tree, a hold, or a person's decision
    AGAIN = 4  # of the daemon's child: a deployment ended, look again before sleeping long
    UNAVAILABLE = 69  # the network or the journal's disk is away; try again later
    REBOOT = 75  # the machine has to restart now
    LOCKED = 76  # another fleetcd-agent works on this device


class ByHand(IntEnum):
    """Of an update by hand, where these differ from ExitCode: they are Mender's."""

    DONE = 0
    FAILED = 1
    NONE_IN_PROGRESS = 2
    REBOOT_REQUIRED = 4  # done; only with --reboot-exit-code
