from raysearch.durations import clock, duration


def test_as_on_a_clock() -> None:
    assert [clock(s) for s in (0, 45.2, 727, 11100)] == ["0:00", "0:45", "12:07", "3:05:00"]


def test_in_words() -> None:
    lengths = {
        0: "0 s",
        59.4: "59 s",
        59.6: "60 s",
        119.4: "119 s",
        119.6: "2 min",
        727: "12 min",
        3570: "1 h 00 min",
        11100: "3 h 05 min",
    }
    assert {seconds: duration(seconds) for seconds in lengths} == lengths
