"""Losses: cross entropy and pixel contrast."""
