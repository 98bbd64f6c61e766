"""What happens to a board on its way through releases, good and bad; the same on every kind.

The stories of a class run in this order on one board. Each leaves it at rest with a committed image
that is whole, the files of others on its data partition as they were, and an honest report.
"""

import random
import time

from schemas.wire.status import Phase
from tests.qemu.host import OWN_FILES, Host
from tests.qemu.kind import Kind
from tests.qemu.machine import Board
from tests.qemu.partitions import MIB, PARTITIONS, tree

PATIENCE = 600.0  # seconds for one update; ten times what it takes on two idle cores
PAGE = 4096  # bytes
NOISE = 8 * 1024 * 1024  # bytes
PANICS = "exit 1\n"
HANGS = "echo init: hangs now; while :; do sleep 1000; done\n"
ALONE = "ip link set eth0 down\n"


class Tale:
    """A board with the installation that it belongs to, from the factory with image 1 on."""

    def __init__(self, host: Host, board: Board) -> None:
        self.host, self.board = host, board
        self.version, self.slot = "1", "a"  # what is committed
        self._looks = 0

    @property
    def other(self) -> str:
        return "b" if self.slot == "a" else "a"

    def runs(self, version: str, slot: str) -> None:
        """Wait until init says that it runs this image, from this slot."""
        self.board.wait_for(rf"init: image {version}, .*fleetcd\.slot={slot}", PATIENCE)

    def starts(self) -> None:
        """Switch the board on: what is committed runs, and no hand is needed."""
        self.board.power_on()
        self.runs(self.version, self.slot)

    def ends(self, version: str, phase: Phase) -> None:
        """Wait until the rollout of `version` has come to this end."""

        def ended() -> bool:
            status = self.host.status()
            rollout = status.rollout if status else None
            wanted = f"demo-os@{version}"
            asked = rollout and rollout.content.components["os"].release == wanted
            return bool(asked and rollout and rollout.phase is phase)

        self.board.wait_until(ended, PATIENCE, f"the rollout of {version} is {phase}")

    def updates(self, version: str) -> None:
        """Wait for a trial of `version` in the other slot, its commit and its report."""
        self.runs(version, self.other)
        self.ends(version, Phase.COMPLETED)
        self.version, self.slot = version, self.other

    def is_refused(self, version: str, reason: str) -> None:
        """Wait until what was committed before runs, and the fleet knows why."""
        self.runs(self.version, self.slot)
        self.ends(version, Phase.ROLLED_BACK)
        assert reason in self.host.refusals()[-1]

    def reaches(self, image: bytes, place: int) -> None:
        """Wait until the write of `image` to the other slot has come to `place`."""
        wanted = image[place : place + PAGE]

        def there() -> bool:
            return self.board.disk.read(f"root-{self.other}", PAGE, at=place) == wanted

        self.board.wait_until(there, PATIENCE, f"the write comes to byte {place}")

    def rests(self) -> None:
        """Cut the power, and look at the disk from outside: all is as it should be."""
        reports = f"demo-os@{self.version}"
        if self.version != "1":  # image 1 was never a release
            heard = f"the board reports {reports}"
            self.board.wait_until(lambda: self.host.runs() == reports, PATIENCE, heard)
        self.board.power_off()
        self.is_whole()
        assert self.is_settled(), self.board.disk.variables()

    def is_settled(self) -> bool:
        """Both copies of the boot variables make the committed slot the primary; no trial."""
        settled = (self.slot, "none")
        return all(
            copy is not None and (copy["fleetcd_primary"], copy["fleetcd_trial"]) == settled
            for copy in self.board.disk.variables()
        )

    def is_whole(self) -> None:
        """The committed slot holds its image, and the data partition what others left there."""
        image = self.host.image(self.version).read_bytes()
        assert self.board.disk.read(f"root-{self.slot}", len(image)) == image
        self._looks += 1
        found = tree(self.board.disk.data(self.host.directory / f"data-{self._looks}"))
        made = tree(self.host.boards[0].data)
        assert {path: found[path] for path in OWN_FILES} == {path: made[path] for path in OWN_FILES}


def written_places(image: bytes, chance: random.Random, count: int) -> list[int]:
    """Return places of `image`, in order, whose pages are not zeros, unlike those of a new slot.

    They leave some of it to write after them, so that a cut there is not too late.
    """
    places = [at for at in range(0, len(image), MIB) if any(image[at : at + PAGE])]
    return sorted(chance.sample(places[: len(places) * 4 // 5], count))


class BoardStories:
    """Subclasses say for which `kind` of board, and in which order the tests run: this one."""

    kind: Kind

    def test_an_update_runs_on_trial_and_is_committed(self, tale: Tale) -> None:
        tale.starts()
        tale.updates("2")
        tale.rests()

    def test_an_image_of_noise_falls_back(self, tale: Tale) -> None:
        tale.host.release_image("3", tale.host.noise("3", NOISE))
        tale.starts()
        tale.board.wait_for(f"fleetcd: slot {tale.other} (does not|cannot)", PATIENCE)
        tale.is_refused("3", "1 of 1 failed: 1 reboot")
        tale.rests()

    def test_an_image_that_panics_falls_back(self, tale: Tale) -> None:
        tale.host.release_image("4", tale.host.image("4", {"/etc/story": PANICS}))
        tale.starts()
        tale.board.wait_for("Kernel panic", PATIENCE)
        tale.is_refused("4", "1 of 1 failed: 1 reboot")
        tale.rests()

    def test_an_image_that_hangs_in_userspace_falls_back(self, tale: Tale) -> None:
        tale.host.release_image(
            "5", tale.host.image("5", {"/etc/story": HANGS, "/etc/margin": "15"})
        )
        tale.starts()
        tale.board.wait_for("init: hangs now", PATIENCE)
        tale.is_refused("5", "1 of 1 failed: 1 reboot")
        tale.rests()

    def test_an_image_that_is_not_healthy_goes_back(self, tale: Tale) -> None:
        tale.host.release_image("6", tale.host.image("6", {"/etc/sick": ""}))
        tale.starts()
        tale.runs("6", tale.other)
        tale.is_refused("6", "1 of 1 failed: 1 healthcheck")
        tale.rests()

    def test_an_image_that_cannot_reach_the_server_goes_back(self, tale: Tale) -> None:
        tale.host.release_image("7", tale.host.image("7", {"/etc/story": ALONE}))
        tale.starts()
        tale.runs("7", tale.other)
        tale.is_refused("7", "1 of 1 failed: 1 network")
        tale.rests()


class BoardAccidents:
    """As BoardStories: what happens to a board whose software is good."""

    kind: Kind

    def test_ten_power_cuts_cost_nothing_but_time(self, tale: Tale) -> None:
        """Nine at random places of the write, one while the new image runs on trial."""
        image = tale.host.image("2").read_bytes()
        for place in written_places(image, random.Random(9), 9):
            tale.starts()
            tale.reaches(image, place)
            tale.board.power_off()
            assert tale.board.disk.read("root-b", len(image)) != image, "the power went too late"
            tale.is_whole()
        tale.starts()
        tale.runs("2", "b")
        time.sleep(random.Random(10).uniform(0, 2))
        tale.board.power_off()
        assert tale.board.disk.read("root-b", len(image)) == image
        assert [copy and copy["fleetcd_primary"] for copy in tale.board.disk.variables()] == [
            "a"
        ] * 2
        tale.board.power_on()
        tale.updates("2")
        tale.rests()

    def test_a_corrupted_sector_of_boot_variables_costs_nothing(self, tale: Tale) -> None:
        disk = tale.board.disk
        both = disk.read("variables", PARTITIONS["variables"].size)
        for copy in (0, 1):
            disk.write("variables", both)
            disk.kind.spoil(disk, copy)
            assert [index for index, one in enumerate(disk.variables()) if one is None] == [copy]
            tale.starts()
            tale.board.wait_for("polls https", PATIENCE)
            tale.board.power_off()
            tale.is_whole()

    def test_a_board_that_lost_all_boot_variables_comes_back_by_itself(self, tale: Tale) -> None:
        """What is in slot a starts then, which is image 1, from the factory."""
        for copy in (0, 1):
            tale.board.disk.kind.spoil(tale.board.disk, copy)
        assert tale.board.disk.variables() == [None, None]
        tale.board.power_on()
        tale.runs("1", "a")
        tale.runs("2", "b")
        tale.board.wait_until(tale.is_settled, PATIENCE, "image 2 is committed again")
        tale.rests()

    def test_a_full_data_partition_refuses_an_update_and_takes_one_once_there_is_room(
        self, tale: Tale
    ) -> None:
        filler = tale.host.directory / "filler"
        filler.write_bytes(b"\1" * (tale.board.disk.data_room() - PAGE))
        tale.board.disk.change_data(f"write {filler} filler")
        tale.host.release_image("4", tale.host.image("4"))
        tale.starts()
        tale.board.wait_for("disk is full|No space left|disk I/O error", PATIENCE)
        time.sleep(5)
        tale.board.power_off()
        tale.is_whole()
        assert tale.is_settled(), "nothing is on trial"
        tale.board.disk.change_data("rm filler")
        tale.starts()
        tale.updates("4")
        tale.rests()
