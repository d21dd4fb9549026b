"""The only package that imports optuna: a declared search that survives kills and is shared by many hands."""
