"""`fleetcd run` that kills itself with SIGKILL once, when a publish comes to the named step.

`python -m tests.e2e.reconciler_that_dies STEP CONFIG BEFORE`. It dies only when the branch has
moved on from commit BEFORE, so that a rollout is at stake.
"""

import os
import signal
import sys
from pathlib import Path

from reconciler.app import App, Part, run_until_signal
from reconciler.cli.run import log_to_standard_error
from reconciler.settings import Settings


def main(step: str, config: Path, before: str) -> None:
    settings = Settings.load(config)
    tip = settings.state.directory.parent / "fleet.git" / "refs" / "heads" / settings.git.branch

    def die(name: str) -> None:
        if name == step and tip.read_text(encoding="ascii").strip() != before:
            os.kill(os.getpid(), signal.SIGKILL)

    log_to_standard_error()
    run_until_signal(App(settings, frozenset(Part), step=die))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
