"""Comparison of searches in virtual time, with learning curves that were measured once."""
