"""Measurements behind the figures in the README; each module is run by itself."""
