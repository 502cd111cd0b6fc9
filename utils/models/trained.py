"""The trained parameters of a network: chosen before training, saved as safetensors after it, loaded to score or continue."""

import logging
import warnings
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers.utils import logging as transformers_logging

from utils.core.errors import WeightsError
from utils.core.files import explain_disk, write_with
from utils.core.recipe import Recipe
from utils.core.tensors import ADAPTER_CONFIG, file_problem
from utils.models.encoders import EncoderClassifier
from utils.models.precision import HALF
from utils.models.zoo import NON_TEXT_MODULES, ZOO

# Silence known messages: a missing 4-bit kernel on a CPU, one progress bar a loaded tensor, a deprecated name used by peft.
warnings.filterwarnings("ignore", message="`is_gradient_checkpointing`", category=FutureWarning)
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
transformers_logging.set_verbosity_error()
transformers_logging.disable_progress_bar()

from peft import LoraConfig, PeftModel, TaskType, get_peft_model  # noqa: E402 - imports bitsandbytes, which logs at import
from peft.tuners.lora import LoraLayer  # noqa: E402

TRAINED = "trained.safetensors"
ADAPTER = "adapter_model.safetensors"
Tensors = dict[str, Tensor]  # by parameter name


def trained_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that require gradients, by name."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def trained_values(model: nn.Module) -> Tensors:
    """Trained parameters, copied to the CPU, of a network whose parameters are not sharded."""
    return {name: parameter.detach().cpu().contiguous() for name, parameter in trained_parameters(model).items()}


def make_trainable(model: nn.Module, recipe: Recipe, start: Path | None = None) -> nn.Module:
    """Choose the trained parameters: LoRA and the head, or all but the embeddings and the frozen layers.

    LoRA (Hu et al. 2021, arXiv 2106.09685) adapts all linear layers of the text model, as QLoRA does (Dettmers et al. 2023,
    arXiv 2305.14314, section 4). `start` is a folder written by `save_trained`: training continues with its adapter or
    tensors; a new adapter would start from the base model again. Raises ValueError for tensors of another network.
    """
    if recipe.checkpointing:
        base = model.encoder if isinstance(model, EncoderClassifier) else model
        base.activation_checkpointing_enable({"use_reentrant": False})
    if recipe.tuning == "lora":
        if start is not None:
            _check_file(start / ADAPTER)
            return _keep_dtype(PeftModel.from_pretrained(model, start, is_trainable=True), recipe)
        task = None if isinstance(model, EncoderClassifier) else TaskType.SEQ_CLS
        config = LoraConfig(
            r=recipe.lora_rank, lora_alpha=recipe.lora_alpha, lora_dropout=recipe.lora_dropout, modules_to_save=["score"],
            target_modules=list(ZOO[recipe.model].targets), exclude_modules=NON_TEXT_MODULES, task_type=task,
        )  # fmt: skip
        torch.manual_seed(recipe.seed)
        return _keep_dtype(get_peft_model(model, config), recipe)
    frozen = tuple(f".layer.{number}." for number in range(recipe.frozen_layers))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(".embeddings." not in name and not any(layer in name for layer in frozen))
    if start is not None:
        load_trained(model, start)
    return model


def _keep_dtype(model: PeftModel, recipe: Recipe) -> PeftModel:
    """In 16 bits, let autocast alone convert an adapter's inputs: peft would make a copy in 32 bits first, for each layer."""
    for module in model.modules():
        if isinstance(module, LoraLayer):
            module.cast_input_dtype_enabled = recipe.precision not in HALF
    return model


def plain(model: nn.Module) -> nn.Module:
    """The network inside a peft wrapper, with its adapter; any other network unchanged."""
    return model.base_model.model if isinstance(model, PeftModel) else model


def save_trained(model: nn.Module, folder: Path, values: dict[str, Tensor] | None = None) -> None:
    """Write the trained parameters as safetensors: a peft adapter (with the head), or the trained tensors; what a former training of
    either kind has left goes first.

    `values` are the whole trained parameters from the engine, for a model that holds only a shard of them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    values = trained_values(model) if values is None else values
    for former in (ADAPTER_CONFIG, ADAPTER, TRAINED):
        (folder / former).unlink(missing_ok=True)
    if isinstance(model, PeftModel):
        with explain_disk(folder / ADAPTER):
            model.save_pretrained(folder, state_dict=values, save_embedding_layers=False)
    else:
        write_with(folder / TRAINED, lambda temporary: save_file(values, temporary))


def _check_file(path: Path) -> None:
    """Raise WeightsError where a training's parameters are missing, damaged or a pickle, which peft would read."""
    if problem := file_problem(path):
        raise WeightsError(f"{path.parent}: {problem}; delete the folder and train again")


def load_trained(model: nn.Module, folder: Path) -> nn.Module:
    """Load what `save_trained` wrote into a network that comes from `load_network`.

    An adapter is merged into the weights, for speed, unless they are quantised: rounding would lose it. Raises ValueError
    for tensors of another network, WeightsError for a file that is missing or not safetensors: nothing else is read.
    """
    lora = (folder / ADAPTER_CONFIG).exists()
    _check_file(folder / (ADAPTER if lora else TRAINED))
    if lora:
        adapted = PeftModel.from_pretrained(model, folder)
        return adapted if getattr(model, "is_quantized", False) else adapted.merge_and_unload()
    tensors = load_file(folder / TRAINED)
    unknown = model.load_state_dict(tensors, strict=False).unexpected_keys
    if unknown:
        raise ValueError(
            f"{folder / TRAINED}: tensors {unknown[:3]} belong to another network; delete the folder and train again"
        )
    return model
