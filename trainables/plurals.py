"""A number with its noun in the singular or the plural."""


def counted(number: float, one: str, many: str | None = None, *, form: str = "") -> str:
    """Return a number with its noun in the right form: `1 trial`, `2 trials`, `1 class`, `2 classes`.

    Args:
        number: The number.
        one: Noun after the number 1, or noun and verb (`image is`).
        many: The same after any other number (`images are`); by default the plural of the noun.
        form: Format of the number, as in a format string.
    """
    return f"{number:{form}} {one if number == 1 else many or _plural(one)}"


def _plural(noun: str) -> str:
    return f"{noun}es" if noun.endswith(("s", "x", "ch", "sh")) else f"{noun}s"
