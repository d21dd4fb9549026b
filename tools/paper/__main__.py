"""Write the heads of gin/paper/*.gin.

python -m tools.paper [--check | --count]

With --check nothing is written; the exit code is 1 where a head is not what would be written. With --count what a
training image costs is counted anew first, by a step of each recipe: about five minutes.
"""

from __future__ import annotations

import argparse
import sys

from .costs import ROOT, count


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing, tell what is out of date")
    parser.add_argument("--count", action="store_true", help="count first what an image costs")
    given = parser.parse_args()
    if given.count:
        count()
    from .heads import recipes  # reads what was counted

    stale = {path: text for path, text in recipes().items() if path.read_text(encoding="utf-8") != text}
    for path, text in stale.items():
        print(f"{path.relative_to(ROOT)}: {'out of date' if given.check else 'written'}")
        if not given.check:
            path.write_text(text, encoding="utf-8", newline="\n")
    return 1 if given.check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
