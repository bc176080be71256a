"""A whole run: start, resume, confirm, and what it leaves behind."""
