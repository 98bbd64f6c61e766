"""The trees of an artifact's modules, before its payloads arrive.

An update by hand needs them earlier than a fleet's: before the Download scripts, because Cleanup is
called whatever becomes of those.
"""

from collections.abc import Callable, Mapping

from device_agent.artifact.provides import GROUP, NAME, contents
from device_agent.artifact.reader import Header
from device_agent.core.component import payloads
from device_agent.core.standalone import artifact_component
from device_agent.modules.installer import ModuleSettings
from device_agent.modules.one_pass import module_headers
from device_agent.modules.search import find_module
from device_agent.modules.tree import Current


def preparing(
    settings: ModuleSettings, provides: Callable[[], Mapping[str, str]]
) -> Callable[[Header], None]:
    """Return what makes the trees for an artifact with a given header.

    That raises UpdateRejected (E_MODULE: a module is not there), and OSError.
    """

    def prepare(header: Header) -> None:
        known = provides()
        current = Current(known.get(NAME), known.get(GROUP), settings.device_type)
        parts = payloads(artifact_component(), contents(header))
        told = module_headers(header).values()
        for each in told:
            find_module(each.payload_type, settings.directories)
        for part, each in zip(parts, told, strict=True):
            settings.tree(part.name).create(current, each)

    return prepare
