"""The Update Modules that come with the agent; a device's own ones of the same name go before."""

from pathlib import Path

DIRECTORY = Path(__file__).parent  # to be searched last
