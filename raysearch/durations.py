"""Durations as text."""


def clock(seconds: float) -> str:
    """Return a duration as on a clock: `0:45`, `12:07`, `3:05:00`."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def duration(seconds: float) -> str:
    """Return a duration in words: `45 s`, `100 s`, `12 min`, `3 h 05 min`."""
    if seconds < 119.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
