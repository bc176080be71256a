"""Entry point of `python -m raysearch`."""

from raysearch.commands.cli import main

if __name__ == "__main__":
    main()
