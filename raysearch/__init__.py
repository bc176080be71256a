"""Finds the best settings of a trainer: space file in, best config out."""
