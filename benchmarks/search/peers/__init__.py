"""The tools that raysearch is compared with; each module drives one as its own documentation does."""
