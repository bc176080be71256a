"""The command line: each module parses the arguments, calls the work and prints the results of related commands."""
