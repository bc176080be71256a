from typing import Any

from pydantic import BaseModel

from raysearch.config.seed_and_threads import seed_of, threads_of
from trainables.config import Config


class Deep(BaseModel):
    rng: int | None = None


class Own(BaseModel):
    rate: float
    deep: Deep = Deep()

    def with_seed(self, seed: int) -> "Own":
        return self.model_copy(update={"deep": Deep(rng=seed)})


def test_the_values_are_found_wherever_the_config_holds_them() -> None:
    config = Config().with_seed(7).with_threads(3).model_dump(mode="json")
    assert seed_of(Config, config) == ("train.seed", 7)
    assert threads_of(Config, config) == ("train.num_threads", 3)
    assert threads_of(Config, Config().model_dump(mode="json")) == ("train.num_threads", None)
    assert seed_of(Own, {"rate": 0.5, "deep": {"rng": 4}}) == ("deep.rng", 4)
    assert seed_of(Own, {"rate": 0.5}) == ("deep.rng", None)


def test_what_is_not_declared_or_breaks_a_rule_is_not_found() -> None:
    class Without(BaseModel):
        seed: int = 1

    assert seed_of(Without, {"seed": 1}) is None
    assert seed_of(None, {}) is None
    assert threads_of(Own, {"rate": 0.5}) is None
    assert seed_of(Own, {"rate": "fast"}) is None


def test_a_change_that_changes_nothing_has_no_path() -> None:
    class Same(BaseModel):
        def with_seed(self, seed: int) -> Any:
            return self

    assert seed_of(Same, {}) is None
