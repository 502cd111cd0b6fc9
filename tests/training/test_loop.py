"""Training on real classes: exact resumption, a stage 2 that begins where stage 1 ended, batches that change nothing."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import AutoConfig, AutoModel, BertConfig, Gemma3ForCausalLM, Gemma3TextConfig

from utils.core.recipe import Recipe, fingerprint, load, save
from utils.models import attention, build, trained
from utils.training import engines, loop, tokens
from utils.training.forward import compile_layers, logits
from utils.training.predict import predict, predict_log_odds

ROWS = pd.DataFrame(
    {
        "query": [f"red shoe {number % 7}" for number in range(40)],
        "query_en": [f"red shoe {number % 7}" if number % 3 else "rot schuh" for number in range(40)],
        "target": [("shoes,red " if number % 2 else "tools,drill ") * (1 + number % 4) for number in range(40)],
    }
)
LABEL = np.arange(40) % 2
ENCODER = Recipe(
    "tiny",
    "xlm-r",
    "multilingual-e5-small",
    tuning="full",
    batch_rows=8,
    pack_tokens=96,
    share_rows=2,
    dropout=0.1,
    learning_rate=1e-3,
    max_length=48,
)
KINDS = {
    "bi-encoder": ENCODER.with_(architecture="bi-encoder"),
    "cross-encoder": ENCODER,
    "bi-encoder-lora": ENCODER.with_(architecture="bi-encoder", tuning="lora", lora_rank=4, lora_dropout=0.1),
    "encoder-float16": ENCODER.with_(precision="float16"),
    "decoder-lora": ENCODER.with_(
        model="gemma-3-270m", pooling="last", tuning="lora", lora_rank=4, lora_dropout=0.1, sequence_tokens=64
    ),
}


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory, e5: Path, gemma: Path) -> dict[str, Path]:
    """Tiny random networks of the true classes, with the true tokenizers."""
    folders = {}
    for name, source in (("encoder", e5), ("decoder", gemma)):
        folder = tmp_path_factory.mktemp(name)
        build.load_tokenizer(source).save_pretrained(folder)
        torch.manual_seed(0)
        size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
        vocabulary = AutoConfig.from_pretrained(source).vocab_size
        if name == "encoder":
            network = AutoModel.from_config(
                BertConfig(vocab_size=vocabulary, pad_token_id=1, **size), add_pooling_layer=False
            )
        else:
            config = Gemma3TextConfig(
                vocab_size=vocabulary, num_key_value_heads=1, head_dim=16, sliding_window=8, **size
            )
            network = Gemma3ForCausalLM(config)
        network.save_pretrained(folder)
        folders[name] = folder
    return folders


class Case:
    """One kind of network on the shared rows."""

    def __init__(self, kind: str, bases: dict[str, Path]) -> None:
        self.recipe = KINDS[kind]
        self.base = bases["decoder" if kind == "decoder-lora" else "encoder"]
        self.tokenizer = build.load_tokenizer(self.base)
        self.rows = tokens.encode(ROWS, "QC", self.tokenizer, self.recipe, build.is_encoder(self.base))

    def network(self, start: Path | None = None) -> torch.nn.Module:
        return trained.make_trainable(build.load_network(self.recipe, self.base), self.recipe, start)

    def fit(self, model: torch.nn.Module, folder: Path, **options: object) -> loop.FitResult:
        folder.mkdir(parents=True, exist_ok=True)
        return loop.fit(
            engines.start(model, self.recipe), self.rows, LABEL, self.recipe, self.tokenizer.pad_token_id, folder, "tag",
            "test", "none", **options,
        )  # fmt: skip

    def score(self, model: torch.nn.Module, tokens: int = 4096) -> np.ndarray:
        return predict(model.eval(), self.rows, tokens, self.tokenizer.pad_token_id, "", "none")


@pytest.fixture(params=KINDS)
def case(request: pytest.FixtureRequest, bases: dict[str, Path]) -> Case:
    return Case(request.param, bases)


def state(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in model.named_parameters() if value.requires_grad}


def test_an_interrupted_run_ends_as_an_undisturbed_one(case: Case, tmp_path: Path) -> None:
    whole, broken, resumed = case.network(), case.network(), case.network()
    undisturbed = case.fit(whole, tmp_path / "whole")
    case.fit(broken, tmp_path / "broken", stop_at=2)
    assert (tmp_path / "broken" / loop.CHECKPOINT).exists()
    continued = case.fit(resumed, tmp_path / "broken")
    assert all(torch.equal(value, state(resumed)[name]) for name, value in state(whole).items())
    assert continued.log["step"].tolist()[-1] == undisturbed.log["step"].tolist()[-1] == undisturbed.steps == 5


def test_a_checkpoint_of_another_recipe_is_not_taken_up(case: Case, tmp_path: Path) -> None:
    case.fit(case.network(), tmp_path, stop_at=2)
    assert loop._open_checkpoint(tmp_path / loop.CHECKPOINT, "tag")[0] == 2
    assert loop._open_checkpoint(tmp_path / loop.CHECKPOINT, "another tag") == (0, [], {})


def test_stage_two_begins_where_stage_one_ended(case: Case, tmp_path: Path) -> None:
    model = case.network()
    base = case.score(model)
    case.fit(model, tmp_path)
    ended = case.score(model)
    trained.save_trained(model, tmp_path)
    continued = case.network(start=tmp_path)
    assert np.abs(case.score(continued) - ended).max() < 1e-5
    assert np.abs(case.score(continued) - base).max() > 1e-3
    assert state(continued).keys() == state(model).keys()


def test_what_was_saved_scores_the_same_when_loaded(case: Case, tmp_path: Path) -> None:
    model = case.network()
    case.fit(model, tmp_path)
    trained.save_trained(model, tmp_path)
    files = {path.suffix for path in tmp_path.iterdir()}
    assert files <= {".safetensors", ".json", ".md"}
    scorer = build.load_scorer(case.recipe, case.base, tmp_path)
    assert np.abs(case.score(scorer) - case.score(model)).max() < 1e-5


def test_neither_packs_nor_neighbours_change_a_score(case: Case) -> None:
    model = case.network()
    rows = case.rows
    alone = [
        predict(model.eval(), tokens.Encoded([row], np.zeros(1, dtype=np.int64), rows.packed), 64, case.tokenizer.pad_token_id, "", "none")
        for row in rows.rows
    ]  # fmt: skip
    assert np.abs(case.score(model, tokens=4096) - np.concatenate(alone)).max() < 1e-5
    assert np.abs(case.score(model, tokens=64) - np.concatenate(alone)).max() < 1e-5


def test_the_loss_of_a_step_is_the_mean_over_its_rows(case: Case, tmp_path: Path) -> None:
    """Whatever the micro-batches: gradients of 4 + 4 rows are those of 8 at once."""
    small, large = case.network().eval(), case.network().eval()
    label = torch.tensor(LABEL)
    for model, width in ((small, 4), (large, 8)):
        for start in range(0, 8, width):
            rows = np.arange(start, start + width)
            scores = logits(model, case.rows, rows, case.tokenizer.pad_token_id)
            (torch.nn.functional.cross_entropy(scores, label[rows], reduction="sum") / 8).backward()
    for name, parameter in small.named_parameters():
        if parameter.grad is not None:
            other = dict(large.named_parameters())[name].grad
            assert torch.allclose(parameter.grad, other, atol=1e-6), name


def test_a_network_that_reads_packs_wrongly_is_stopped(
    bases: dict[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    case = Case("decoder-lora", bases)
    case.fit(case.network(), tmp_path, stop_at=1)
    true_masks = attention.visible
    monkeypatch.setattr(
        attention,
        "visible",
        lambda end, depth, window=None: true_masks(torch.full_like(end, end.shape[1]), depth, window),
    )
    with pytest.raises(RuntimeError, match="set the recipe's attention"):
        case.fit(case.network(), tmp_path, stop_at=1)


def test_training_learns_what_can_be_learnt(case: Case, tmp_path: Path) -> None:
    case.recipe = case.recipe.with_(epochs=6.0, learning_rate=5e-3)
    model = case.network()
    log = case.fit(model, tmp_path).log
    assert log["loss"].iloc[-1] < log["loss"].iloc[0]
    answer = case.score(model)
    assert answer[LABEL == 1].mean() > answer[LABEL == 0].mean()


def test_a_loss_that_is_not_finite_stops_the_run(case: Case, tmp_path: Path) -> None:
    model = case.network()
    with torch.no_grad():
        next(iter(value for name, value in model.named_parameters() if value.requires_grad and "score" in name)).fill_(
            float("nan")
        )
    with pytest.raises(ValueError, match="lower learning_rate"):
        case.fit(model, tmp_path)


def test_many_texts_are_tokenised_once(bases: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = build.load_tokenizer(bases["decoder"])
    texts = [f"red shoe {number % 30}" for number in range(50)] + ["", "日本 \u2028 \x00"]
    few = tokens.tokenise(texts, tokenizer, tmp_path)
    assert not list(tmp_path.iterdir()) and few[0] == tuple(tokenizer(texts[0], add_special_tokens=False)["input_ids"])
    monkeypatch.setattr(tokens, "FEW", 1)
    assert tokens.tokenise(texts, tokenizer, tmp_path) == few
    monkeypatch.setattr(tokens, "_bulk", lambda *_: pytest.fail("tokenised again"))
    assert tokens.tokenise(texts, tokenizer, tmp_path) == few
    assert len(list(tmp_path.iterdir())) == 1
    with pytest.raises(pytest.fail.Exception):
        tokens.tokenise([*texts, "new"], tokenizer, tmp_path)


def test_fields_are_never_glued_together(bases: dict[str, Path]) -> None:
    for name, kind in (("encoder", "cross-encoder"), ("decoder", "decoder-lora")):
        tokenizer = build.load_tokenizer(bases[name])
        ids = tokens.encode(ROWS.head(1), "QC", tokenizer, KINDS[kind], encoder=name == "encoder").rows[0][0]
        query = tokens.tokenise(["query: red shoe 0 | english: rot schuh"], tokenizer)[0]
        assert query in [ids[at : at + len(query)] for at in range(len(ids))]
        assert ids[0] == (tokenizer.cls_token_id if name == "encoder" else tokenizer.bos_token_id)


def test_recipes_come_back_and_fingerprints_tell_them_apart(tmp_path: Path) -> None:
    save(ENCODER, tmp_path / "recipe.json", task="QC")
    assert load(tmp_path / "recipe.json") == ENCODER
    assert fingerprint(ENCODER, "a") == fingerprint(ENCODER.with_(name="other"), "a")
    assert len({fingerprint(ENCODER, "a"), fingerprint(ENCODER, "b"), fingerprint(ENCODER.with_(epochs=2.0), "a")}) == 3


def test_float16_leaves_out_a_step_that_overflows_and_scales_on(bases: dict[str, Path], tmp_path: Path) -> None:
    """The scale is far too large at first: nothing is trained until it has fallen, and a resumed run knows how far it had."""
    case = Case("encoder-float16", bases)
    case.recipe = case.recipe.with_(epochs=4.0)
    model = case.network()
    before = state(model)
    case.fit(model, tmp_path, stop_at=1)
    checkpoint = loop._open_checkpoint(tmp_path / loop.CHECKPOINT, "tag")[2]
    scale, _, steps = checkpoint[engines.SCALER].tolist()
    overflowed = all(torch.equal(value, before[name]) for name, value in state(model).items())
    assert overflowed == (steps == 0) and scale == 65536.0 / (2 if overflowed else 1)
    resumed, whole = case.network(), case.network()
    case.fit(resumed, tmp_path)
    case.fit(whole, tmp_path / "whole")
    assert all(torch.equal(value, state(resumed)[name]) for name, value in state(whole).items())


def test_an_overflow_scales_down_and_changes_nothing(bases: dict[str, Path]) -> None:
    case = Case("encoder-float16", bases)
    model = case.network()
    engine, before = engines.start(model.train(), case.recipe), state(model)
    for parameter in trained.trained_parameters(model).values():
        parameter.grad = torch.full_like(parameter, float("inf"))
    engine.scaler.scale(torch.zeros(()))  # as the first backward pass does
    engine.step()
    assert all(torch.equal(value, before[name]) for name, value in state(model).items())
    assert engine.scaler.get_scale() == 32768.0
    checkpoint = engine.state()
    assert checkpoint[engines.SCALER].tolist() == [32768.0, 0.0, 0.0]
    other = engines.start(case.network().train(), case.recipe)
    other.restore(checkpoint, 1)
    assert other.scaler.get_scale() == 32768.0


def test_logits_beyond_all_numbers_are_refused(case: Case) -> None:
    model = case.network()
    with torch.no_grad():
        next(value for name, value in model.named_parameters() if value.requires_grad and "score" in name).fill_(
            float("nan")
        )
    with pytest.raises(ValueError, match="40 of 40 logits are no numbers; set precision to bfloat16 or float32"):
        case.score(model)


def test_a_sure_answer_has_finite_log_odds(case: Case) -> None:
    """A softmax of exactly 1 would have none."""
    model = case.network()
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "score" in name and "lora" not in name:
                value.mul_(1e4) if "bias" not in name else value.copy_(torch.tensor([-300.0, 300.0]))
    odds = predict_log_odds(model.eval(), case.rows, 4096, case.tokenizer.pad_token_id, "", "none")
    assert np.isfinite(odds).all()


@pytest.mark.long
def test_compiled_layers_compute_the_same(bases: dict[str, Path]) -> None:
    """Logits and gradients of two packs of unlike sizes, from one piece of code for both."""
    case = Case("decoder-lora", bases)
    case.recipe = case.recipe.with_(lora_dropout=0.0)
    plainly, compiled = case.network(), case.network()
    compile_layers(compiled)
    for pack in (np.arange(6), np.arange(6, 16)):
        gradients = []
        for model in (plainly, compiled):
            model.zero_grad()
            scores = logits(model, case.rows, pack, case.tokenizer.pad_token_id)
            scores.square().sum().backward()
            gradients.append([scores.detach(), *(value.grad for value in model.parameters() if value.requires_grad)])
        assert len(gradients[0]) > 10
        for left, right in zip(*gradients, strict=True):
            assert (left - right).abs().max() < 1e-5
    counts = torch._dynamo.utils.counters
    assert counts["stats"]["unique_graphs"] > 0 and not counts["graph_break"]
