"""Paths whose names hold the separator, parsed back into levels."""

import tracemalloc
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.core import paths
from utils.core.paths import Run
from utils.data import taxonomy
from utils.data.tables import write_table
from utils.data.taxonomy import parse
from utils.data.text import normalise_query

PATHS = [
    "arts,crafts & sewing,paper,stamps",
    "arts,crafts & sewing,paper,cards",
    "arts,crafts & sewing,yarn",
    "home & garden,kitchen,dining & bar,pots",
    "home & garden,kitchen,dining & bar,pans",
    "home & garden,textile,carpet",
    "office,pens, pencils & writing supplies,gel pens",
    "office,pens, pencils & writing supplies,pencils",
    "office,paper",
]
NAME = st.sampled_from(["a", "b", "c", "d, e", "f,g", "ü & h"])


def test_commas_inside_names_are_no_levels() -> None:
    tree = parse(PATHS)
    assert tree.levels(PATHS[0]) == ("arts,crafts & sewing", "paper", "stamps")
    assert tree.levels(PATHS[3]) == ("home & garden", "kitchen,dining & bar", "pots")
    assert tree.levels(PATHS[6]) == ("office", "pens, pencils & writing supplies", "gel pens")
    assert tree.levels(PATHS[5]) == ("home & garden", "textile", "carpet")


def test_groups_and_siblings() -> None:
    tree = parse(PATHS)
    assert tree.group(PATHS[3], 2) == "home & garden,kitchen,dining & bar"
    assert tree.siblings(PATHS[3]) == {PATHS[4]}
    assert tree.siblings(PATHS[8]) == set()
    assert [tree.sibling_count(path) for path in PATHS] == [len(tree.siblings(path)) for path in PATHS]
    assert tree.sibling_count("never,seen before") == 0


@pytest.mark.parametrize("end", ["", ",leaf"])
def test_paths_of_thousands_of_levels_take_memory_in_proportion(end: str) -> None:
    levels = [f"level {number}" for number in range(5000)]
    tracemalloc.start()
    tree = parse([",".join(levels) + f",{number}{end}" for number in range(20)])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 30e6  # prefixes of their own would be 100 MB for each path
    assert tree.levels(",".join(levels) + f",3{end}")[0] == ",".join(levels)


def test_a_node_that_is_itself_an_answer_stays_a_level() -> None:
    tree = parse(["tools", "tools,drills", "tools,drills,bits"])
    assert tree.levels("tools,drills,bits") == ("tools", "drills", "bits")


@given(st.lists(st.lists(NAME, min_size=1, max_size=5).map(",".join), min_size=1, max_size=12))
def test_levels_joined_give_the_path_back(texts: list[str]) -> None:
    tree = parse(texts)
    for path in texts:
        levels = tree.levels(path)
        assert ",".join(levels) == normalise_query(path)
        assert 1 <= len(levels) <= path.count(",") + 1
        assert tree.group(path, 99) == normalise_query(path)


WIDE = "shoes，bags & hats,women,boots"  # its first comma is full-width: a character of the name


def test_a_comma_of_another_form_is_part_of_a_name() -> None:
    for tree in (parse([WIDE]), parse([WIDE, "shoes，bags & hats,men,boots"]), parse(PATHS)):
        assert tree.levels(WIDE) == ("shoes,bags & hats", "women", "boots")
        assert tree.group(WIDE, 2) == "shoes,bags & hats,women"
    small, vertical = "pens﹐ink,blue", "pens︐ink,red"
    tree = parse([WIDE, "shoes，bags & hats,women,sandals", small, vertical])
    assert tree.levels(small) == ("pens,ink", "blue") and tree.levels(vertical) == ("pens,ink", "red")
    assert tree.siblings(WIDE) == {"shoes,bags & hats,women,sandals"} and tree.siblings(small) == {"pens,ink,red"}
    typed = "shoes,bags & hats,women,boots"  # on a keyboard
    assert tree.levels(typed) == ("shoes", "bags & hats", "women", "boots")


@pytest.mark.parametrize("space", [" ", "  ", "\t", "\u3000", "\u00a0", "\u200b ", "\x07"])
def test_a_comma_before_any_space_separates_nothing(space: str) -> None:
    assert parse([]).levels(f" Office,pens,{space}Pencils,gel ") == ("office", "pens, pencils", "gel")


def test_each_distinct_path_is_cleaned_once(monkeypatch: pytest.MonkeyPatch) -> None:
    cleaned = []
    monkeypatch.setattr(taxonomy, "_split", lambda path: cleaned.append(path) or (path or "",))
    tree = parse(pd.Series(["a", "b", None, float("nan"), "a"] * 50, dtype=object))
    for path in ["a", "b", None, float("nan"), "new"] * 50:
        assert tree.group(path, 1) == (path if isinstance(path, str) else "")
    assert sorted(map(str, cleaned)) == ["None", "a", "b", "new"]


def test_levels_are_shown_once_per_path() -> None:
    shown = taxonomy.show_levels(parse(PATHS), [PATHS[0], WIDE, PATHS[0]])
    assert shown == {PATHS[0]: "arts,crafts & sewing > paper > stamps", WIDE: "shoes,bags & hats > women > boots"}


def test_the_tree_holds_the_categories_of_all_splits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    run = Run("small")
    for split, own in (("train", PATHS[:2]), ("test", PATHS[2:])):
        write_table(pd.DataFrame({"target": own}), run.clean_table(split, "QC"))
    assert taxonomy.read_tree(run, "QC") == parse(PATHS) and taxonomy.read_tree(run, "QI") is None


def test_null_and_unseen_paths_have_levels_too() -> None:
    tree = parse([*PATHS, None])
    assert tree.levels(None) == ("",)
    assert tree.levels("never,seen before") == ("never", "seen before")
