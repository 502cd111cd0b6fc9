"""Engines turn gradients into an optimizer step: in one process, in several that sum their gradients, or with DeepSpeed ZeRO.

The training loop (`utils.training.loop`) and the networks are the same for all engines. The loss that an engine gets is this
process's share of a step's mean, so gradients are summed over processes, never averaged.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from utils.core.recipe import Recipe
from utils.models.precision import device, weights_dtype
from utils.models.trained import Tensors, trained_parameters, trained_values
from utils.training import ranks
from utils.training.forward import compile_layers

MOMENTS = ("exp_avg", "exp_avg_sq")  # names of AdamW's two moments
BUCKET = 50_000_000  # gradients that DeepSpeed sums at once; its own number would take ten times the memory
SCALER = "scaler"  # of the loss, in a checkpoint: its scale, steps since it changed, and steps that did not overflow


def _optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.AdamW:
    """AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101), with a learning rate of its own for the head.

    The head is new, so it may learn faster than the pretrained layers (Howard and Ruder 2018, arXiv 1801.06146,
    section 3.2, discriminative fine-tuning). A group's `scale` multiplies the learning rate.
    """
    head = [parameter for name, parameter in trained_parameters(model).items() if "score" in name]
    rest = [parameter for name, parameter in trained_parameters(model).items() if "score" not in name]
    groups = [{"params": rest, "scale": 1.0}, {"params": head, "scale": recipe.head_rate}]
    return torch.optim.AdamW(
        groups, lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=recipe.zero_stage == 0
    )


class Plain:
    """Each process holds the whole network; gradients are summed over processes before a step.

    In float16 the loss is scaled up before the backward pass, so that small gradients do not vanish, and a step whose
    gradients overflow is left out (Micikevicius et al. 2018, arXiv 1710.03740, section 3.2).
    """

    name = "plain"

    def __init__(self, model: nn.Module, recipe: Recipe) -> None:
        self.model, self.clip = model, recipe.clip
        self.scaler = torch.amp.GradScaler(device().type, enabled=recipe.precision == "float16")
        for parameter in trained_parameters(model).values():
            parameter.data = parameter.data.float()  # 16 bits are too few: small updates would be rounded away
        self.optimizer = _optimizer(model, recipe)

    @property
    def groups(self) -> list[dict[str, Any]]:
        """The optimizer's parameter groups."""
        return self.optimizer.param_groups

    def backward(self, loss: Tensor, last: bool) -> None:
        """Add the gradients of a micro-batch; `last` marks the last one of a step."""
        self.scaler.scale(loss).backward()

    def step(self) -> None:
        """Sum the gradients over processes, clip their norm, update the parameters."""
        parameters = list(trained_parameters(self.model).values())
        if ranks.world() > 1:
            for parameter in parameters:
                parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            gradients = ranks.all_reduce_sum(torch.cat([parameter.grad.flatten() for parameter in parameters]))
            for parameter, part in zip(parameters, gradients.split([p.numel() for p in parameters]), strict=True):
                parameter.grad.copy_(part.view_as(parameter))
        self.scaler.unscale_(self.optimizer)
        torch.nn.utils.clip_grad_norm_(parameters, self.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)

    def values(self) -> Tensors:
        """The whole trained parameters, on the CPU."""
        return trained_values(self.model)

    def state(self) -> Tensors:
        """`value`, `exp_avg` and `exp_avg_sq` of every trained parameter, on the CPU: all that a checkpoint needs."""
        state = {f"value.{name}": value for name, value in self.values().items()}
        steps = 0.0
        for name, parameter in trained_parameters(self.model).items():
            own = self.optimizer.state.get(parameter)
            moments = own or dict.fromkeys(MOMENTS, torch.zeros_like(parameter))  # where every step so far overflowed
            state |= {f"{moment}.{name}": moments[moment].cpu() for moment in MOMENTS}
            steps = float(own["step"]) if own else 0.0
        if self.scaler.is_enabled():
            scaler = self.scaler.state_dict()
            state[SCALER] = torch.tensor([scaler["scale"], scaler["_growth_tracker"], steps], dtype=torch.float64)
        return state

    def restore(self, state: Tensors, step: int) -> None:
        """Load the `state` that was saved after `step` steps."""
        if self.scaler.is_enabled():
            scale, tracker, steps = state[SCALER].tolist()
            step = int(steps)  # those that did not overflow
            self.scaler.load_state_dict(self.scaler.state_dict() | {"scale": scale, "_growth_tracker": int(tracker)})
        for name, parameter in trained_parameters(self.model).items():
            parameter.data.copy_(state[f"value.{name}"])
            moments = {moment: state[f"{moment}.{name}"].to(parameter.device) for moment in MOMENTS}
            self.optimizer.state[parameter] = {"step": torch.tensor(float(step), device=parameter.device), **moments}


def zero_config(recipe: Recipe) -> dict[str, Any]:
    """DeepSpeed's configuration for a recipe: ZeRO (Rajbhandari et al. 2020, arXiv 1910.02054), stage 2 or 3, offloaded or not.

    The loop counts a step's micro-batches, so DeepSpeed's own count is 1. The optimizer is PyTorch's AdamW, as DeepSpeed's
    would be compiled at run time.
    """
    zero: dict[str, Any] = {"stage": recipe.zero_stage, "overlap_comm": False, "reduce_bucket_size": BUCKET}
    if recipe.offload:
        zero["offload_optimizer"] = {"device": "cpu"}
        if recipe.zero_stage == 3:
            zero["offload_param"] = {"device": "cpu"}
    return {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": recipe.clip,
        "bf16": {"enabled": recipe.precision == "bfloat16"},
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
    }


class Zero:
    """DeepSpeed ZeRO: stage 2 shards gradients and optimizer state over the processes, stage 3 the weights too."""

    name = "DeepSpeedEngine"

    def __init__(self, model: nn.Module, recipe: Recipe) -> None:
        import deepspeed

        self.model, self.stage = model, recipe.zero_stage
        if self.stage == 3:
            _deal_out(model, recipe)
        self.engine, self.optimizer, _, _ = deepspeed.initialize(
            model=model, optimizer=_optimizer(model, recipe), config=zero_config(recipe)
        )
        actual = (type(self.engine).__name__, self.engine.zero_optimization_stage(), self.engine.world_size)
        if actual != (expected := (self.name, recipe.zero_stage, ranks.world())):
            raise RuntimeError(f"DeepSpeed started as {actual}, not as {expected}; install the pinned version")

    @property
    def groups(self) -> list[dict[str, Any]]:
        """The optimizer's parameter groups."""
        return self.optimizer.param_groups

    def backward(self, loss: Tensor, last: bool) -> None:
        """Add the gradients of a micro-batch; `last` marks the last one of a step."""
        self.optimizer.clear_backward_seen_flag()  # else stage 3 keeps the last micro-batch only; DeepSpeed's own forward clears it
        self.engine.set_gradient_accumulation_boundary(last)
        self.engine.backward(loss * ranks.world(), scale_wrt_gas=False)  # DeepSpeed takes the mean over processes

    def step(self) -> None:
        """Sum the gradients over processes, clip their norm, update the parameters."""
        self.engine.step()

    def values(self) -> Tensors:
        """The whole trained parameters, on the CPU, from their 32-bit copies; every process must call it."""
        from deepspeed.utils import safe_get_full_fp32_param

        return dict(self._whole(safe_get_full_fp32_param))

    def state(self) -> Tensors:
        """`value`, `exp_avg` and `exp_avg_sq` of every trained parameter, on the CPU; every process must call it."""
        from deepspeed.utils import safe_get_full_optimizer_state

        state = {f"value.{name}": value for name, value in self.values().items()}
        # DeepSpeed links the states at the first group's first step, when the second group has none yet.
        if self.stage < 3:
            self.optimizer._hp_optimizer_states_linked = False
            self.optimizer._lazy_init_hp_params_optimizer_state()
        for moment in MOMENTS:
            whole = self._whole(lambda parameter, key=moment: safe_get_full_optimizer_state(parameter, key))
            state |= {f"{moment}.{name}": value for name, value in whole}
        return state

    def _whole(self, read: Any) -> Iterator[tuple[str, Tensor]]:
        """Name and whole tensor of every trained parameter, on the CPU, gathered by one of DeepSpeed's getters."""
        for name, parameter in trained_parameters(self.model).items():
            shape = getattr(parameter, "ds_shape", parameter.shape)
            yield name, read(parameter).detach().cpu().clone().view(shape)

    def restore(self, state: Tensors, step: int) -> None:
        """Load the `state` that was saved after `step` steps."""
        shards = (
            self.optimizer.fp32_partitioned_groups_flat
            if self.stage == 3
            else self.optimizer.single_partition_of_fp32_groups
        )
        for shard in shards:
            moments = {moment: torch.zeros_like(shard.data) for moment in MOMENTS}
            self.optimizer.optimizer.state[shard] = {"step": torch.tensor(float(step)), **moments}
        if self.stage < 3:
            self._restore_whole(state)
        else:
            self._restore_shards(state)

    def _restore_whole(self, state: Tensors) -> None:
        """Stage 2: set whole tensors; DeepSpeed keeps this process's shard of each."""
        from deepspeed.utils import safe_set_full_fp32_param, safe_set_full_optimizer_state

        self.optimizer._lazy_init_hp_params_optimizer_state()
        for name, parameter in trained_parameters(self.model).items():
            parameter.data.copy_(state[f"value.{name}"])  # what the network computes with until the next step
            safe_set_full_fp32_param(parameter, state[f"value.{name}"])
            for moment in MOMENTS:
                safe_set_full_optimizer_state(parameter, state[f"{moment}.{name}"], moment)

    def _restore_shards(self, state: Tensors) -> None:
        """Stage 3: each process sets its own shard, as the setters of whole tensors fail where a size is no multiple of the world's."""
        from deepspeed import zero
        from deepspeed.utils import safe_get_local_fp32_param, safe_set_local_fp32_param, safe_set_local_optimizer_state

        parameters = trained_parameters(self.model)
        with zero.GatheredParameters(list(parameters.values()), modifier_rank=0):  # what the network computes with
            for name, parameter in parameters.items():
                parameter.data.copy_(state[f"value.{name}"])
        for name, parameter in trained_parameters(self.model).items():
            size = safe_get_local_fp32_param(parameter).numel()

            def shard(value: Tensor, size: int = size) -> Tensor:
                padded = nn.functional.pad(value.float().flatten(), (0, size * ranks.world() - value.numel()))
                return padded[ranks.rank() * size :][:size]

            safe_set_local_fp32_param(parameter, shard(state[f"value.{name}"]))
            for moment in MOMENTS:
                safe_set_local_optimizer_state(parameter, shard(state[f"{moment}.{name}"]), moment)


Engine = Plain | Zero


def check(recipe: Recipe) -> None:
    """Raise ValueError, with what to change, for a recipe that no engine can train."""
    if recipe.zero_stage == 3 and recipe.quantisation != "none":
        raise ValueError(f"{recipe.name}: 4-bit weights cannot be sharded over processes; set zero_stage to 2")
    if recipe.zero_stage and recipe.precision == "float16":
        raise ValueError(f"{recipe.name}: float16 trains in one process each; set zero_stage to 0, or precision")
    if recipe.quantisation == "int8":
        raise ValueError(f"{recipe.name}: 8-bit weights are for scoring only; set quantisation to nf4 or none")


def _deal_out(model: nn.Module, recipe: Recipe) -> None:
    """ZeRO-3: give each process its shard of every parameter, one after the other, so that no device ever holds the whole network.

    `model` is in the host's memory; it is changed in place.
    """
    from deepspeed import zero

    for parameter in model.parameters():
        parameter.data = parameter.data.to(weights_dtype(recipe))  # DeepSpeed asks for one dtype
    for module in model.modules():
        for name, value in module.named_buffers(recurse=False):
            module._buffers[name] = value.to(device())
    zero.Init(module=model, config_dict_or_path=zero_config(recipe))


def start(model: nn.Module, recipe: Recipe) -> Engine:
    """The engine of a recipe for a network from `make_trainable`, which goes to the device, or to several of them in shards.

    Raises RuntimeError where DeepSpeed does not start as set.
    """
    if recipe.zero_stage < 3:
        _compile(model.to(device()), recipe)
    return Zero(model, recipe) if recipe.zero_stage else Plain(model, recipe)


def _compile(model: nn.Module, recipe: Recipe) -> nn.Module:
    """Compile the layers of a network on its GPU, where its recipe says so; ZeRO changes what a layer does."""
    if recipe.compiled and device().type == "cuda" and not recipe.zero_stage:
        compile_layers(model)
    return model


@contextmanager
def scoring(model: nn.Module, recipe: Recipe) -> Iterator[nn.Module]:
    """A network ready to score: on the device or, under ZeRO-3, in shards over all processes while the context lasts."""
    if recipe.zero_stage < 3:
        yield _compile(model.to(device()).eval(), recipe)
        return
    import deepspeed

    _deal_out(model, recipe)
    engine, _, _, _ = deepspeed.initialize(model=model, config=zero_config(recipe))
    try:
        yield model.eval()
    finally:
        engine.destroy()
