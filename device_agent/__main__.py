"""`python -m device_agent` is `fleetcd-agent`."""

import sys

from device_agent.cli import main

sys.exit(main())
