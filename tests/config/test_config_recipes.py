from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import matx
from matx.config import find_recipe, load_experiment, packaged_recipes
from matx.config.recipes import recipe_root
from matx.errors import ConfigError

Write = Callable[[str, str], str]
CHECKOUT = Path(matx.__file__).resolve().parent.parent


@pytest.fixture
def wheel(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The layout of an installed wheel: recipes inside matx, the library gin-config beside it; its recipes' folder."""
    site = tmp_path_factory.mktemp("site")
    for file in (
        "gin/__init__.py",
        "gin/trap.gin",
        "matx/__init__.py",
        "matx/gin/mat_union.gin",
        "matx/gin/paper/x.gin",
    ):
        (site / file).parent.mkdir(parents=True, exist_ok=True)
        (site / file).write_text("")
    (site / "matx/gin/base").mkdir()
    (site / "matx/gin/base/part.gin").write_text("Experiment.epochs = 7\n")
    monkeypatch.setattr(matx, "__file__", str(site / "matx/__init__.py"))
    return site / "matx/gin"


def test_in_a_checkout_recipes_stand_beside_matx() -> None:
    assert recipe_root() == CHECKOUT / "gin", "an editable install reads the repository's own gin/"
    assert not (CHECKOUT / "gin" / "__init__.py").exists(), "gin/ with an __init__.py would shadow gin-config"


def test_in_a_wheel_recipes_stand_inside_matx(wheel: Path) -> None:
    assert packaged_recipes() == ["mat_union", "paper/x"], "recipes by name, without the parts in base/"
    for name in ("mat_union", "mat_union.gin"):
        assert find_recipe(name) == wheel / "mat_union.gin", f"{name} is found from any directory"
    assert find_recipe("paper/x") == wheel / "paper/x.gin", "folders are part of the name"
    with pytest.raises(ConfigError, match="no such file"):
        find_recipe("trap")


def test_the_working_directory_comes_first(wheel: Path, write: Write) -> None:
    write("mat_union.gin", "")
    assert find_recipe("mat_union") == Path("mat_union.gin"), "a local file wins over a packaged recipe"
    assert find_recipe(Path("mat_union.gin").resolve()) == Path("mat_union.gin").resolve(), "absolute paths are kept"


def test_a_folder_of_that_name_does_not_hide_the_recipe(wheel: Path, tmp_path: Path) -> None:
    (tmp_path / "mat_union").mkdir()
    assert find_recipe("mat_union") == wheel / "mat_union.gin", "a folder is no recipe"


def test_an_unknown_recipe_names_the_nearest_and_all(wheel: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        find_recipe("mat_unoin")
    listed = "packaged recipes: mat_union, 1 in paper/ (`matx list recipes`)"
    expected = f"mat_unoin: no such file; did you mean 'mat_union'?; {listed}"
    assert caught.value.problems == (expected,), caught.value.problems


def test_includes_beside_the_file_then_here_then_packaged(wheel: Path, write: Write) -> None:
    write("deep/top.gin", "include 'base.gin'\ninclude 'base/part.gin'\ninclude 'near.gin'\n")
    write("deep/near.gin", "Experiment.seed = 1\n")
    write("near.gin", "Experiment.seed = 2\n")
    loaded = load_experiment(["deep/top.gin"])
    assert loaded.experiment.seed == 1, "beside the including file comes first"
    assert loaded.experiment.epochs == 7, "a packaged part is found last"
    assert loaded.files == ("deep/top.gin", "base.gin", "gin/base/part.gin", "deep/near.gin"), (
        "and shown alike in a wheel and a checkout"
    )
    write("base/part.gin", "Experiment.epochs = 8\n")
    assert load_experiment(["deep/top.gin"]).experiment.epochs == 8, "the working directory comes before the packaged"
