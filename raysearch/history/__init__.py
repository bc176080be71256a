"""The record of a search: its journal, the history read from the journal, its tables and its folder."""
