"""An arm64 board with systemd as its first process: what docs/integration/watchdog.md promises.

The units are those of the page, with its times, except for those that would take too long here:
they are shortened where a story says so. The stories run in this order on one board.
"""

import pytest

from tests.qemu.stories import PATIENCE, Tale
from tests.qemu.systemd import SystemdKind

pytestmark = pytest.mark.qemu_all

TRIES = 2
LONG = TRIES * PATIENCE  # seconds for an update whose every try takes its time
FREEZES = "kill -SEGV 1\n"
NO_TOML = "this is no TOML\n"
UNITS = "/run/systemd/system"
# Only once the image is committed. What comes after it runs in the background.
AGENT_RUNS = """\
fw_printenv -c /etc/fw_env.0.config -n fleetcd_trial | grep -q none || exit 0
until systemctl --quiet is-active fleetcd-agent.service; do sleep 1; done
"""
AGENT_HANGS = f"""\
({AGENT_RUNS}
kill -STOP $(systemctl show --property=MainPID --value fleetcd-agent.service)
echo 'story: the agent hangs' >/dev/console) &
"""


def sooner(unit: str, *lines: str) -> str:
    """Return a shell script that has a unit of the image say these lines, after all others.

    Drop-ins count in the order of their names, wherever they lie.
    """
    text = "".join(f"{line}\\n" for line in lines)
    return f"""\
mkdir -p {UNITS}/{unit}.d
printf '{text}' >{UNITS}/{unit}.d/zz-sooner.conf
systemctl daemon-reload
"""


NEVER_COMES_TO_THE_AGENT = f"""\
{sooner("fleetcd-trial-deadline.timer", "[Timer]", "OnBootSec=", "OnBootSec=60")}
systemctl restart fleetcd-trial-deadline.timer
while :; do sleep 1000; done
"""
AGENT_FAILS = f"""\
{sooner("fleetcd-agent.service", "[Unit]", "StartLimitIntervalSec=60")}
{sooner("fleetcd-agent-again.timer", "[Timer]", "OnActiveSec=", "OnActiveSec=60")}
({AGENT_RUNS}
mount -o bind /etc/image-version /usr/bin/fleetcd-agent
systemctl kill --signal=KILL fleetcd-agent.service
for round in 1 2; do
    while systemctl --quiet is-failed fleetcd-agent.service; do sleep 1; done
    until systemctl --quiet is-failed fleetcd-agent.service; do sleep 1; done
    echo "story: the agent has failed too often, $round" >/dev/console
done
umount /usr/bin/fleetcd-agent) &
"""


class TestSystemd:
    kind = SystemdKind()

    def test_an_update_runs_on_trial_and_is_committed(self, tale: Tale) -> None:
        tale.starts()
        tale.updates("2")
        tale.rests()

    def test_an_image_whose_systemd_crashes_falls_back(self, tale: Tale) -> None:
        tale.host.release_image("3", tale.host.image("3", {"/etc/story": FREEZES}))
        tale.starts()
        tale.board.wait_for("Freezing execution", LONG)
        tale.is_refused("3", "1 of 1 failed: 1 reboot")
        tale.rests()

    def test_an_image_whose_agent_does_not_start_falls_back(self, tale: Tale) -> None:
        image = tale.host.image("4", {"/etc/fleetcd/agent.toml": NO_TOML})
        tale.host.release_image("4", image)
        tale.starts()
        for _ in range(TRIES):
            tale.board.wait_for("image 4", LONG)
            tale.board.wait_for("Start request repeated too quickly", LONG)
            tale.board.wait_for("Starting fleetcd-trial-over.service", LONG)
        tale.is_refused("4", "1 of 1 failed: 1 reboot")
        tale.rests()

    def test_an_image_that_never_comes_to_its_agent_falls_back(self, tale: Tale) -> None:
        """With a deadline of a minute."""
        image = tale.host.image("5", {"/etc/story": NEVER_COMES_TO_THE_AGENT})
        tale.host.release_image("5", image)
        tale.starts()
        for _ in range(TRIES):
            tale.board.wait_for("image 5", LONG)
            tale.board.wait_for("Starting fleetcd-trial-over.service", LONG)
        tale.is_refused("5", "1 of 1 failed: 1 reboot")
        tale.rests()

    def test_an_agent_that_hangs_is_started_again_and_updates(self, tale: Tale) -> None:
        tale.host.release_image("6", tale.host.image("6", {"/etc/story": AGENT_HANGS}))
        tale.starts()
        tale.updates("6")
        tale.rests()
        tale.host.release_image("7", tale.host.image("7", {"/etc/story": AGENT_FAILS}))
        tale.starts()
        tale.board.wait_for("story: the agent hangs", LONG)
        tale.board.wait_for("fleetcd-agent.service: Watchdog timeout", LONG)
        tale.updates("7")
        tale.rests()

    def test_an_agent_that_failed_too_often_is_started_again_and_updates(self, tale: Tale) -> None:
        """After one minute instead of ten."""
        tale.host.release_image("8", tale.host.image("8"))
        tale.starts()
        for number in (1, 2):
            said = f"story: the agent has failed too often, {number}"
            tale.board.wait_for(said, LONG)
        tale.updates("8")
        tale.rests()
