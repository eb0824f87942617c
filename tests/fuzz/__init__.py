"""Generated input for what reads bytes from outside: hypothesis (test_*.py) and coverage-guided targets (targets/)."""
