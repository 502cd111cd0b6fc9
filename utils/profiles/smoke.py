"""The laptop profile on a handful of rows: every step of the pipeline in a few minutes, for tests. Its scores say nothing."""

from dataclasses import replace

from utils.profiles.laptop import LAPTOP

SMOKE = replace(
    LAPTOP,
    name="smoke",
    sample_rows=800,
    rows=800,
    validation_rows=40,
    candidates=tuple(
        recipe.with_(rows=min(recipe.rows, 24), answer_rows=min(recipe.answer_rows, 24), batch_rows=8)
        for recipe in LAPTOP.candidates
        if recipe.translation  # that variant says nothing on so few rows, and costs as much as any
    ),
    tapt_rows=24,
    auxiliary_rows=24,
    finals=tuple(replace(final, rows=48) for final in LAPTOP.finals),
    rows_by_task=(),
    held_out=1,
    held_out_rows=48,
    held_out_validation_rows=80,
    related_rows=60,
    ablation_rows=48,
    ablation_validation_rows=48,
    ablation_seeds=1,
)
