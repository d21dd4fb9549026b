"""docs/results.md and gin/measured.json from the committed results: `python -m tools.results`."""
