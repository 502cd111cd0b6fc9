"""Paths whose names hold the separator, parsed back into levels."""

from hypothesis import given
from hypothesis import strategies as st

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


def test_a_node_that_is_itself_an_answer_stays_a_level() -> None:
    tree = parse(["tools", "tools,drills", "tools,drills,bits"])
    assert tree.levels("tools,drills,bits") == ("tools", "drills", "bits")


@given(st.lists(st.lists(NAME, min_size=1, max_size=5).map(",".join), min_size=1, max_size=12))
def test_levels_joined_give_the_path_back(paths: list[str]) -> None:
    tree = parse(paths)
    for path in paths:
        levels = tree.levels(path)
        assert ",".join(levels) == normalise_query(path)
        assert 1 <= len(levels) <= path.count(",") + 1
        assert tree.group(path, 99) == normalise_query(path)


def test_null_and_unseen_paths_have_levels_too() -> None:
    tree = parse([*PATHS, None])
    assert tree.levels(None) == ("",)
    assert tree.levels("never,seen before") == ("never", "seen before")
