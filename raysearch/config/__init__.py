"""One config as a tree of dotted paths: reading it, its rules, and the faults found in it."""
