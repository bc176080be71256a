"""The space file: its settings, the searched values, constraints, and the checked spec they make."""
