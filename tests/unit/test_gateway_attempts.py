"""The states in which a device is about to come back are words of the agent's."""

from device_agent.core.states import State
from reconciler.domain.attempts import awaits_return


def test_the_states_that_await_a_return_are_the_agents() -> None:
    waiting = {state for state in State if awaits_return(state)}
    assert waiting == {
        State.REBOOT,
        State.VERIFY_REBOOT,
        State.ROLLBACK_REBOOT,
        State.VERIFY_ROLLBACK,
    }
