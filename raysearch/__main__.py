"""`python -m raysearch`."""

from raysearch.cli import main

if __name__ == "__main__":
    main()
