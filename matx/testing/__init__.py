"""Contracts: what every component promises, as plain functions that raise AssertionError with a sentence.

They are shipped, so that a plug-in is tested as the built-ins are: `check("attacks", "mine")`, on the command line
`matx check attacks.mine`, or, under pytest, `matx.testing.pytest`. A contract calls a component as the engine does,
through `matx.craft`.
"""

from matx.testing.checking import CONTRACTS, Contract, Outcome, check, check_component, examples_of

__all__ = ["CONTRACTS", "Contract", "Outcome", "check", "check_component", "examples_of"]
