"""What tools/bench.py measures, a verb a file."""
