"""`python -m tests.bench [NAME ...]` measures; docs/performance.md says how to read the figures."""

import argparse
import logging
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import structlog

from tests.bench.benches import BENCHES
from tests.bench.figures import Figure, Scale, bounded
from tests.bench.report import as_json, machine, markdown, table


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the named benches, all by default. Return 1 when one was ended by its bound."""
    options = _parser().parse_args(arguments)
    load_before = os.getloadavg()[0]
    results: dict[str, tuple[Figure, ...]] = {}
    late = []
    with tempfile.TemporaryDirectory(dir=options.directory, prefix="fleetcd-bench-") as directory:
        for name in options.names or BENCHES:
            print(f"measuring {name} ...", file=sys.stderr, flush=True)
            within = Path(directory, name)
            within.mkdir()
            try:
                with bounded(BENCHES[name].limit):
                    results[name] = BENCHES[name].bench(Scale(options.scale), within)
            except TimeoutError as error:
                late.append(f"{name}: {error}")
        where = machine(Path(directory), load_before)
    print(markdown(results, where) if options.markdown else table(results, where))
    if options.json:
        options.json.write_text(as_json(results, where), encoding="utf-8")
    print("\n".join(late), end="\n" if late else "", file=sys.stderr)
    return 1 if late else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHES))
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every value to FILE")
    parser.add_argument("--scale", choices=list(Scale), default=Scale.FULL)
    parser.add_argument("--directory", type=Path, help="where to write; its disk is measured")
    return parser


if __name__ == "__main__":
    # Of the whole process, hence not in main(), which a test calls among others that read logs.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    sys.exit(main())
