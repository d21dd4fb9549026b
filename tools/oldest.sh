#!/usr/bin/env bash
# The tests on the oldest versions that pyproject.toml allows, in a fresh virtual environment; arguments are pytest's.
set -euo pipefail
cd "$(dirname "$0")/.."
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
python3 -m venv "$room"
"$room/bin/pip" install -q -r tests/oldest.txt
"$room/bin/pip" install -q --no-deps .
"$room/bin/pip" check
"$room/bin/python" -m pytest -p no:cacheprovider "$@"
