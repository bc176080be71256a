.PHONY: check format lint types imports test test-slow coverage

check: lint types imports test

format:
	python -m ruff format .
	python -m ruff check --fix .

lint:
	python -m ruff format --check .
	python -m ruff check .

types:
	python -m mypy

imports:
	lint-imports

test:
	python -m pytest

test-slow:
	python -m pytest -m slow

coverage:
	python -m pytest --cov
