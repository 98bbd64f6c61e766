"""What differs between boards once the kernel runs: the first process."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Init:
    """What starts everything else on a board, and what the agent leaves to it.

    `program` becomes /sbin/init. `links` and `files` are put in by absolute path, and of what the
    packages bring `unpacked` (patterns of tar) is put in, `left_out` is not.
    """

    program: Path
    agent: str  # lines of agent.toml, the first ones in its section [boot]
    left_out: tuple[str, ...] = ()
    unpacked: tuple[str, ...] = ()
    files: tuple[tuple[str, bytes], ...] = ()
    links: tuple[tuple[str, str], ...] = ()


BUSYBOX = Init(
    Path(__file__).parent / "guest" / "init",
    agent="""\
watchdog = "/dev/watchdog"
watchdog_timeout = 60

[machine]
reboot = ["/bin/busybox", "reboot", "-f"]
""",
)
