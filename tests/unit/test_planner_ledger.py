"""Attempts are numbered so that no rollout ever has the name of an older one."""

from reconciler.domain.ledger import MAX_ATTEMPTS, next_attempt, remember


def test_an_attempt_is_never_numbered_twice_even_when_old_sets_were_forgotten() -> None:
    attempts: dict[str, int] = {}
    numbered = []
    for turn in (1, 2, 3):
        for at in range(0, MAX_ATTEMPTS * 2, turn):
            name = f"set-{at}"
            number = next_attempt(attempts, name)
            numbered.append((name, number))
            attempts = dict(remember(attempts, name, number, ()))

    assert len(set(numbered)) == len(numbered)
    assert len(attempts) <= MAX_ATTEMPTS


def test_sets_in_use_are_not_forgotten() -> None:
    attempts = {f"set-{at:04}": 1 for at in range(MAX_ATTEMPTS)}

    kept = remember(attempts, "new", 1, {"set-0000"})

    assert {"new", "set-0000"} <= kept.keys()
    assert len(kept) == MAX_ATTEMPTS
