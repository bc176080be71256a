"""The record of a search: the journal, the history read out of it, its tables and its folder."""
