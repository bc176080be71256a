"""Searches compared in virtual time, over learning curves that were measured once."""
