"""The only package that imports optuna: a declared search that several processes share and any may leave."""
