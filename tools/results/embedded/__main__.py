"""The runs behind docs/results.md: settings searched on validation images, then fresh seeds of each method.

    OMP_NUM_THREADS=1 python -m tools.results.embedded search at mat ...    # a study for each, in studies/
    OMP_NUM_THREADS=1 python -m tools.results.embedded seeds at mat ...     # runs and evaluations, in runs/
    OMP_NUM_THREADS=1 python -m tools.results.embedded confirm at mat ...   # AutoAttack and sanity checks
    python -m tools.results.embedded collect                                # docs/results/embedded.json

The same command goes on where it stopped. What a search found is written into the recipes by hand.
"""

from __future__ import annotations

import argparse

from . import collect, runs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=["search", "seeds", "confirm", "collect"])
    parser.add_argument("methods", nargs="*")
    given = parser.parse_args()
    if given.stage == "collect":
        collect.store()
    else:
        runs.make(given.stage, given.methods)


if __name__ == "__main__":
    main()
