"""Checks of a search before it starts."""
