"""Trainers of one trial; they know nothing of the search that may run them."""
