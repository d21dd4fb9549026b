"""The runs behind the results of the embedded recipes: `python -m tools.results.embedded`."""
