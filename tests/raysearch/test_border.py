import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
KNOW_NO_TRAINER = {
    "protocol",
    "errors",
    "spelling",
    "dotted_paths",
    "atomic_files",
    "checksums",
    "file_locks",
    "plurals",
}


def test_the_contract_of_the_border_names_every_module_on_both_sides() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (border,) = [one for one in contracts if one["name"] == "only the command line knows the trainer that comes along"]

    def modules(package: str) -> set[str]:
        there = (
            path.stem for path in (ROOT / package).iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()
        )
        return {f"{package}.{name}" for name in there if not name.startswith("__")}

    assert set(border["source_modules"]) == modules("raysearch") - {"raysearch.commands"}
    assert set(border["forbidden_modules"]) == modules("trainables") - {
        f"trainables.{name}" for name in KNOW_NO_TRAINER
    }
    assert not border.get("allow_indirect_imports", False)
    assert not border.get("ignore_imports")
