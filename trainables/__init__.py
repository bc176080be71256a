"""Trainers of a single trial; they know nothing of the search that may run them."""
