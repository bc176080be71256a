from typing import Any

import pytest

from tests.trainables.openseg.files import street
from trainables.config import Config
from trainables.openseg.dialect import is_openseg


class TestIsOpenseg:
    def test_the_files_of_the_dialect_are_known_by_what_they_hold(self) -> None:
        assert is_openseg(street())
        assert is_openseg(street(method=None))
        assert is_openseg({"method": "fcn_segmentor"})

    @pytest.mark.parametrize(
        "document",
        [
            {},
            Config().model_dump(mode="json"),
            {"data": {"label_list": [0, 1]}},
            {"network": "hrnet48"},
            {"network": {"layers": 3}},
            {"method": "adam", "lr": 0.1},
        ],
    )
    def test_other_files_are_not(self, document: dict[str, Any]) -> None:
        assert not is_openseg(document)
