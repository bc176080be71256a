"""Tests of the search benchmark."""
