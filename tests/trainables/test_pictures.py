from trainables.pictures import choose


def test_the_worst_come_first_and_the_median_of_the_others_after_them() -> None:
    scores = [0.9, None, 0.1, 0.8, 0.5, 0.3, 0.4, 0.7, 0.6, 0.2]
    assert choose(scores) == [
        ("worst", 2),
        ("worst", 9),
        ("worst", 5),
        ("worst", 6),
        ("typical", 8),
        ("typical", 7),
    ]
    assert choose([0.2, 0.1]) == [("worst", 1), ("worst", 0)]
    assert choose([None]) == []
