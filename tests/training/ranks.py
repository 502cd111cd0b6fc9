"""Run by `test_ranks`: three packed optimizer steps of a tiny decoder, in one process or, under torchrun, in several.

python tests/training/ranks.py MODE FOLDER, where MODE is alone, ddp, zero2 or zero3. Rank 0 writes `FOLDER/MODE.safetensors`.
"""

import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from peft import LoraConfig, TaskType, get_peft_model
from safetensors.torch import save_file
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from transformers import Gemma3TextConfig

from utils.core.recipe import Recipe
from utils.models.decoders import decoder_class
from utils.models.zoo import DECODER
from utils.training.packing import training_steps
from utils.training.tokens import Encoded
from utils.training.tries import Batch, build_batch

ROWS = [(1 + number % 3, 5, 1 + number % 5, 2, 3 + number % 7) for number in range(48)]
RECIPE = Recipe("tiny", "gemma", batch_rows=16, share_rows=3, pack_tokens=24)


def network() -> nn.Module:
    torch.manual_seed(0)
    config = Gemma3TextConfig(
        vocab_size=30, hidden_size=32, num_hidden_layers=2, intermediate_size=48, num_attention_heads=2, num_key_value_heads=1,
        head_dim=16, layer_types=["sliding_attention", "full_attention"], sliding_window=3, pad_token_id=0,
    )  # fmt: skip
    model = decoder_class(config)(config)
    lora = LoraConfig(r=4, target_modules=list(DECODER), modules_to_save=["score"], task_type=TaskType.SEQ_CLS)
    return get_peft_model(model, lora)


def batches() -> list[list[Batch]]:
    """Packs of each step with labels and weights, the weights of a step summing to one."""
    encoded = Encoded([(row,) for row in ROWS], torch.tensor([row[0] for row in ROWS]).numpy(), packed=True)
    steps = []
    for step in training_steps(encoded, RECIPE):
        size = sum(map(len, step))
        packs = []
        for micro in step:
            batch = build_batch([ROWS[row] for row in micro])
            label = torch.tensor([ROWS[row][0] % 2 for row in micro])
            packs.append(batch | {"labels": label, "weights": torch.full((len(micro),), 1 / size)})
        steps.append(packs)
    return steps


def start(mode: str, model: nn.Module) -> tuple[Any, Any]:
    """The engine that runs the forward pass, and the optimizer."""
    trained = [value for value in model.parameters() if value.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=0.05)
    if mode == "alone":
        return model, optimizer
    if mode == "ddp":
        dist.init_process_group("gloo")
        return DistributedDataParallel(model), optimizer
    import deepspeed

    deepspeed.init_distributed("gloo", auto_mpi_discovery=False)
    config = {
        "train_micro_batch_size_per_gpu": 1, "gradient_accumulation_steps": 1, "zero_optimization": {"stage": int(mode[-1])},
        "gradient_clipping": 1e9,  # its default is 1
        "zero_allow_untested_optimizer": True, "zero_force_ds_cpu_optimizer": False,
    }  # fmt: skip
    engine, _, _, _ = deepspeed.initialize(model=model, optimizer=optimizer, config=config)
    assert type(engine).__name__ == "DeepSpeedEngine" and engine.zero_optimization_stage() == int(mode[-1])
    assert engine.world_size == dist.get_world_size() == 2
    return engine, None


def main(mode: str, folder: Path) -> None:
    torch.set_num_threads(1)
    model = network().train()
    engine, optimizer = start(mode, model)
    rank, world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    for packs in batches():
        own = packs[rank::world]
        own += [packs[0] | {"weights": torch.zeros_like(packs[0]["weights"])}] * (-(-len(packs) // world) - len(own))
        for number, batch in enumerate(own):
            loss = engine(**batch).loss * world  # engines average over ranks
            if optimizer is None:
                engine.set_gradient_accumulation_boundary(number + 1 == len(own))
                engine.backward(loss, scale_wrt_gas=False)
            else:
                loss.backward()
        if optimizer is None:
            engine.step()
        else:
            optimizer.step()
            optimizer.zero_grad()
    tensors = {}
    for name, value in model.named_parameters():
        if value.requires_grad:
            if optimizer is None:
                from deepspeed.utils import safe_get_full_fp32_param

                value = safe_get_full_fp32_param(value).view(getattr(value, "ds_shape", value.shape))
            tensors[name] = value.detach().clone().contiguous()
    if rank == 0:
        save_file(tensors, folder / f"{mode}.safetensors")
    if world > 1:
        dist.barrier()
        dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
