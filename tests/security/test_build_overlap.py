"""No device is claimed by two fleets: the commit is refused before anything is published."""

from schemas.refusal import Code
from tests.support import fleet_yaml as write


def test_case_79_overlapping_fleets_are_refused_with_both_names_and_a_device() -> None:
    problem = write.only_problem(
        write.fleet("kiosks"),
        write.fleet("paris", "site=paris"),
        write.release(),
        write.device("kiosk-1", "product: kiosk, site: lyon"),
        write.device("kiosk-2", "product: kiosk, site: paris"),
        write.device("kiosk-3", "product: kiosk, site: paris"),
    )
    assert problem.code is Code.POLICY
    assert (problem.file, problem.line, problem.field) == ("all.yaml", 10, "spec.selector")
    assert problem.message == (
        "fleets `paris` and `kiosks` (all.yaml:5) both select device `kiosk-2` and 1 more"
        " with priority 0"
    )
    assert problem.remedy == "narrow a selector, or give one fleet a higher priority"


def test_case_79_a_selector_without_a_listed_device_is_fine_devices_may_enrol_later() -> None:
    assert write.desired(write.fleet(selector="product=till"), write.release(), write.device("k"))
