"""The JSON files and flags of openseg.pytorch and ContrastiveSeg, the code this trainer's ideas come from.

Such a file is never complete: the original's scripts give the network, the loss and the data as flags beside it.
`flags.py` reads those, `reader.py` makes a nested config of a file and its flags, `writer.py` makes a file of a config,
and `dialect.py` holds the names that the reader and the writer share. Whatever the dialect has no word for goes into a
block that the original ignores, so that a config that is written and read again is the same config.
"""
