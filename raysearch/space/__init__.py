"""The space file: its settings, searched values and constraints, and the checked spec that results from them."""
