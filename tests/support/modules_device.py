"""A device with the test module `recorder`, whose every call the test can script."""

from pathlib import Path

from device_agent.modules.installer import ModuleSettings, UpdateModuleInstaller
from device_agent.modules.program import Limits

MODULES = Path(__file__).parent / "modules"

READ_ALL = """
while true; do
    next="$(cat stream-next)"
    [ -n "$next" ] || break
    echo "$next" >> "$RECORD/offered"
    cat "${next%% *}" > "$RECORD/$(basename "${next%% *}").read"
done
"""


class ModuleDevice:
    """`script(call, text)` says what the module does in a call; `calls` are those it got."""

    def __init__(self, root: Path, *, timeout: float = 20.0) -> None:
        self.root, self.record = root, root / "record"
        self.record.mkdir()
        self.installed: dict[str, str] = {"app": "kiosk-app@1.4.2"}
        self.settings = ModuleSettings(
            directories=(MODULES,),
            state_dir=root / "state",
            device_type="rpi4",
            environment={"PATH": "/usr/bin:/bin", "RECORD": str(self.record)},
            limits=Limits(timeout=timeout, termination=1.0),
        )

    @property
    def installer(self) -> UpdateModuleInstaller:
        """A new one each time, as after a restart of the agent."""
        return UpdateModuleInstaller("recorder", self.settings, self.installed.get)

    @property
    def tree(self) -> Path:
        return self.root / "state" / "modules" / "v3" / "payloads" / "app" / "tree"

    @property
    def calls(self) -> list[str]:
        path = self.record / "calls"
        return path.read_text().split() if path.exists() else []

    def script(self, call: str, text: str) -> None:
        (self.record / call).write_text(text)

    def read(self, name: str) -> bytes:
        return (self.record / name).read_bytes()
