"""A whole run: start, resume, confirmation, results."""
