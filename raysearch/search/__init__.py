"""The search: proposals, decisions on reports, endings of trials, sources to start from, expected length."""
