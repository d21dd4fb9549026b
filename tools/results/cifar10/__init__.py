"""The study of CIFAR-10 in docs/results.md: its data, recipes, plan and runs."""
