"""A config as a tree of dotted paths: reading it, its rules, and its faults."""
