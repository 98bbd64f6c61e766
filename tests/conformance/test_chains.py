"""Every fault in every call and every state script, with and without rollback, with every kind of
restart: the chain of calls, what is reported, and promises that hold whatever happens.

The expected chain comes from chain_model.LINKS: a table that says where a fault leaves the normal
chain and how it goes on. The promises are checked on what was seen, and know nothing of the table.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conformance.case import Facts
from tests.conformance.chain_model import LINKS, expected_chain
from tests.conformance.daemon_mode import DEPLOYMENT, every_script, prepared, seen
from tests.support.conformance_device import NEW_NAME, OLD_NAME, World
from tests.support.conformance_faults import Answers, Faults, Repeat

FORWARD = ("download", "install", "ask", "reboot", "verify", "commit", "after", "cleanup")
BACK = ("undo", "rollback", "rollback reboot", "verify rollback", "failure")
SCRIPTS = every_script(DEPLOYMENT)
QUERIES = ("SupportsRollback", "NeedsArtifactReboot")  # are not noted when they are asked


@dataclass(frozen=True)
class Chain:
    """One fault. A fault on the way back needs another one first, that leads there."""

    kind: str
    call: str
    rollback: str
    reboot: str

    @property
    def is_back(self) -> bool:
        return any(self.call.removesuffix("_00") in LINKS[link].calls for link in BACK)

    @property
    def faults(self) -> Faults:
        leads_back = "ArtifactCommit" if self.reboot == "No" else "ArtifactVerifyReboot"
        names = [leads_back] if self.is_back else []
        names += [self.call] if self.kind == "fail" else []
        return Faults(
            fail=dict.fromkeys(names, Repeat.ONCE),
            kill={self.call: Repeat.ONCE} if self.kind == "kill" else {},
            hang=frozenset({self.call} if self.kind == "hang" else ()),
        )

    @property
    def answers(self) -> Answers:
        return Answers(supports_rollback=self.rollback, needs_reboot=self.reboot)

    def __str__(self) -> str:
        return f"{self.kind} {self.call}, rollback {self.rollback}, reboot {self.reboot}"


def _calls(links: tuple[str, ...]) -> list[str]:
    names = [call for link in links for call in LINKS[link].calls]
    return [f"{name}_00" if "_" in name else name for name in names]


def _chains() -> Iterator[Chain]:
    for call in dict.fromkeys((*_calls(FORWARD), *_calls(BACK))):
        kinds = ("fail", "kill") if call in QUERIES or "_" in call else ("fail", "kill", "hang")
        for kind in kinds:
            for rollback in ("Yes", "No"):
                for reboot in ("No", "Yes", "Automatic"):
                    yield Chain(kind, call, rollback, reboot)


ALL = list(_chains())
QUICK = [each for each in ALL if (each.rollback, each.reboot) == ("Yes", "Yes")]
QUICK = [
    each for each in QUICK if each.kind == "fail" or (each.kind == "kill" and not each.is_back)
]
OTHERS = [each for each in ALL if each not in QUICK]


def run(chain: Chain, root: Path) -> Facts:
    return seen(prepared(root, World(), chain.faults, chain.answers, SCRIPTS).run())


def check(chain: Chain, root: Path) -> None:
    facts = run(chain, root)
    keeps_promises(chain, facts)
    assert facts == expected_chain(chain.faults, chain.answers)


def keeps_promises(chain: Chain, facts: Facts) -> None:
    """Check what holds of every chain, whatever the fault."""
    calls, reports = list(facts["calls"]), facts["reports"]
    (outcome,), (name,) = facts["outcome"], facts["artifact name"]
    committed = "ArtifactCommit_Leave_00" in calls
    begun = "ArtifactInstall_Enter_00" in calls
    if "ProvidePayloadFileSizes" in calls:
        assert calls[-1] == "Cleanup", "what a module left is removed at the very end"
    assert calls.count("ArtifactInstall") <= 1, "nothing is installed twice"
    assert calls.count("ArtifactCommit") <= 1, "nothing is committed twice"
    assert ("ArtifactFailure" in calls) is (begun and not committed), "who begins in vain is told"
    assert not (committed and "ArtifactRollback" in calls), "there is no way back from a commit"
    assert reports[-1] == ("success" if outcome == "success" else "failure"), "the report is honest"
    names = {"success": NEW_NAME, "rolled_back": OLD_NAME}
    assert name == names.get(outcome, f"{NEW_NAME}_INCONSISTENT"), "and so is the artifact's name"
    if outcome == "rolled_back" and begun:
        assert "ArtifactRollback" in calls, "what was begun is not undone by itself"
        assert chain.rollback == "Yes"
    if "Error" in "".join(calls) and outcome == "success":
        raise AssertionError("an Error script ran, and yet all went well")


@pytest.mark.parametrize("chain", QUICK, ids=str)
def test_a_fault_leaves_the_normal_chain_where_the_table_says(chain: Chain, tmp_path: Path) -> None:
    check(chain, tmp_path)


@pytest.mark.ci
@pytest.mark.parametrize("chain", OTHERS, ids=str)
def test_so_does_every_fault_of_every_kind_of_module(chain: Chain, tmp_path: Path) -> None:
    check(chain, tmp_path)


def _some_faults(seed: int) -> tuple[Faults, Answers]:
    """Return up to six faults that have nothing to do with each other."""
    chance = random.Random(seed)
    errors = [name for name in SCRIPTS if "_Error_" in name]
    calls = list(dict.fromkeys((*_calls(FORWARD), *_calls(BACK), *errors)))
    repeats = (Repeat.ONCE, Repeat.ONCE, Repeat.ONCE, Repeat.ALWAYS)
    fail = {name: chance.choice(repeats) for name in chance.sample(calls, chance.randint(0, 3))}
    kill = {name: chance.choice(repeats) for name in chance.sample(calls, chance.randint(0, 3))}
    answers = Answers(
        supports_rollback=chance.choice(("Yes", "Yes", "No")),
        needs_reboot=chance.choice(("No", "Yes", "Automatic")),
        file_sizes=chance.choice(("", "Yes")),
    )
    return Faults(fail, kill), answers


@pytest.mark.ci
@pytest.mark.parametrize("seed", range(100))
def test_so_do_faults_that_come_together(seed: int, tmp_path: Path) -> None:
    faults, answers = _some_faults(seed)
    facts = seen(prepared(tmp_path, World(), faults, answers, SCRIPTS).run())
    assert facts == expected_chain(faults, answers), (faults, answers)


@pytest.mark.parametrize("reboot", ["No", "Yes", "Automatic"])
@pytest.mark.parametrize("rollback", ["Yes", "No"])
def test_without_a_fault_the_chain_is_the_normal_one(
    rollback: str, reboot: str, tmp_path: Path
) -> None:
    facts = run(Chain("none", "nothing", rollback, reboot), tmp_path)
    left_out = {"No": ("reboot", "verify"), "Yes": (), "Automatic": ()}[reboot]
    normal = _calls(tuple(link for link in FORWARD if link not in left_out))
    unheard = (*QUERIES, "ArtifactReboot") if reboot == "Automatic" else QUERIES
    assert list(facts["calls"]) == [call for call in normal if call not in unheard]
    assert facts["outcome"] == ("success",)


@pytest.mark.parametrize("kind", ["fail", "kill"])
def test_a_fault_for_ever_comes_to_an_end_and_says_that_nobody_knows(
    kind: str, tmp_path: Path
) -> None:
    if kind == "fail":
        names = ("ArtifactVerifyReboot", "ArtifactVerifyRollbackReboot")
        faults = Faults(fail=dict.fromkeys(names, Repeat.ALWAYS))
    else:
        kill = {"ArtifactFailure": Repeat.ALWAYS}
        faults = Faults(fail={"ArtifactVerifyReboot": Repeat.ONCE}, kill=kill)
    answers = Answers(needs_reboot="Yes")
    facts = seen(prepared(tmp_path, World(), faults, answers, SCRIPTS).run())
    assert facts == expected_chain(faults, answers)
    assert facts["outcome"] == ("inconsistent",)
