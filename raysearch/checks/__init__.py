"""What is looked at before a search starts."""
