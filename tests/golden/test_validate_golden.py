"""What `fleetcd validate` prints for a broken repository, word for word.

After a deliberate change of wording: `python -m tests.golden.test_validate_golden` writes it anew.
"""

import os
import re
from pathlib import Path

import pytest

from reconciler.cli.validate import Output, judge, lines_of

HERE = Path(__file__).parent / "validate"
STYLE = re.compile(r"\x1b\[[0-9;]*m")  # a terminal gets bold and colour, a file does not
EXPECTED = {output: HERE / f"broken.{output}.expected" for output in Output}


def printed(output: Output) -> str:
    lines = lines_of(judge(Path("broken")), output)
    return "".join(f"{STYLE.sub('', line)}\n" for line in lines)


@pytest.mark.parametrize("output", Output)
def test_the_output_for_a_broken_repository(
    output: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(HERE)
    assert printed(output) == EXPECTED[output].read_text(encoding="utf-8")


if __name__ == "__main__":
    os.chdir(HERE)
    for output in Output:
        EXPECTED[output].write_text(printed(output), encoding="utf-8")
