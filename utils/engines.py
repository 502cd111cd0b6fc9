"""What turns gradients into an optimizer step: one process, several that add theirs up, or DeepSpeed ZeRO.

The loop (`utils.train`) and the networks are the same for all. A loss that is handed in is this process's share of a step's mean,
so gradients are summed over processes, never averaged.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from utils import ranks
from utils.recipe import Recipe

MOMENTS = ("exp_avg", "exp_avg_sq")
Tensors = dict[str, Tensor]


def trained(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that are trained, by name."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def values(model: nn.Module) -> Tensors:
    """The trained parameters of a network that holds all of itself, on the CPU."""
    return {name: parameter.detach().cpu().contiguous() for name, parameter in trained(model).items()}


def _optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.AdamW:
    """AdamW; the head is new and small: it learns faster than what is pretrained (Howard and Ruder 2018, section 3.2)."""
    head = [parameter for name, parameter in trained(model).items() if "score" in name]
    rest = [parameter for name, parameter in trained(model).items() if "score" not in name]
    groups = [{"params": rest, "scale": 1.0}, {"params": head, "scale": recipe.head_rate}]
    return torch.optim.AdamW(
        groups, lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=recipe.zero_stage == 0
    )


class Plain:
    """Each process holds everything; the gradients of all are added up before a step."""

    name = "plain"

    def __init__(self, model: nn.Module, recipe: Recipe) -> None:
        self.model, self.clip = model, recipe.clip
        for parameter in trained(model).values():
            parameter.data = parameter.data.float()  # a small step is lost on a number of 16 bits
        self.optimizer = _optimizer(model, recipe)

    @property
    def groups(self) -> list[dict[str, Any]]:
        return self.optimizer.param_groups

    def backward(self, loss: Tensor, last: bool) -> None:
        """Add a micro-batch's gradients; `last` is the step's last."""
        loss.backward()

    def step(self) -> None:
        parameters = list(trained(self.model).values())
        if ranks.world() > 1:
            for parameter in parameters:
                parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            together = ranks.add_up(torch.cat([parameter.grad.flatten() for parameter in parameters]))
            for parameter, part in zip(parameters, together.split([p.numel() for p in parameters]), strict=True):
                parameter.grad.copy_(part.view_as(parameter))
        torch.nn.utils.clip_grad_norm_(parameters, self.clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def values(self) -> Tensors:
        """The trained parameters, whole, on the CPU."""
        return values(self.model)

    def state(self) -> Tensors:
        """`value`, `exp_avg` and `exp_avg_sq` of every trained parameter: all that a resumption needs."""
        found = {f"value.{name}": value for name, value in self.values().items()}
        for name, parameter in trained(self.model).items():
            found |= {f"{moment}.{name}": self.optimizer.state[parameter][moment].cpu() for moment in MOMENTS}
        return found

    def restore(self, state: Tensors, step: int) -> None:
        """Put back what `state` told after so many steps."""
        for name, parameter in trained(self.model).items():
            parameter.data.copy_(state[f"value.{name}"])
            moments = {moment: state[f"{moment}.{name}"].to(parameter.device) for moment in MOMENTS}
            self.optimizer.state[parameter] = {"step": torch.tensor(float(step), device=parameter.device), **moments}


def zero_config(recipe: Recipe) -> dict[str, Any]:
    """DeepSpeed's configuration for a recipe: ZeRO (Rajbhandari et al. 2020, arXiv 1910.02054), stage 2 or 3, offloaded or not.

    A step's micro-batches are counted by the loop, so DeepSpeed is told of one; its own AdamW would be compiled on the spot.
    """
    zero: dict[str, Any] = {"stage": recipe.zero_stage, "overlap_comm": False}
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
    """DeepSpeed: stage 2 deals gradients and optimizer state out to the processes, stage 3 the weights too."""

    name = "DeepSpeedEngine"

    def __init__(self, model: nn.Module, recipe: Recipe) -> None:
        import deepspeed

        self.model, self.stage = model, recipe.zero_stage
        self.engine, self.optimizer, _, _ = deepspeed.initialize(
            model=model, optimizer=_optimizer(model, recipe), config=zero_config(recipe)
        )
        found = (type(self.engine).__name__, self.engine.zero_optimization_stage(), self.engine.world_size)
        if found != (wanted := (self.name, recipe.zero_stage, ranks.world())):
            raise RuntimeError(f"DeepSpeed started as {found}, not as {wanted}; install the pinned version")

    @property
    def groups(self) -> list[dict[str, Any]]:
        return self.optimizer.param_groups

    def backward(self, loss: Tensor, last: bool) -> None:
        """Add a micro-batch's gradients; `last` is the step's last."""
        self.optimizer.clear_backward_seen_flag()  # its own forward pass would: without it stage 3 keeps the last micro-batch alone
        self.engine.set_gradient_accumulation_boundary(last)
        self.engine.backward(loss * ranks.world(), scale_wrt_gas=False)  # DeepSpeed takes the mean over processes

    def step(self) -> None:
        self.engine.step()

    def values(self) -> Tensors:
        """The trained parameters, whole, on the CPU, from the copies in 32 bits; every process must ask."""
        from deepspeed.utils import safe_get_full_fp32_param

        return dict(self._whole(safe_get_full_fp32_param))

    def state(self) -> Tensors:
        """`value`, `exp_avg` and `exp_avg_sq` of every trained parameter; every process must ask."""
        from deepspeed.utils import safe_get_full_optimizer_state

        found = {f"value.{name}": value for name, value in self.values().items()}
        if self.stage < 3:  # DeepSpeed links them after the first group's first step, when the second has none yet
            self.optimizer._hp_optimizer_states_linked = False
            self.optimizer._lazy_init_hp_params_optimizer_state()
        for moment in MOMENTS:
            whole = self._whole(lambda parameter, key=moment: safe_get_full_optimizer_state(parameter, key))
            found |= {f"{moment}.{name}": value for name, value in whole}
        return found

    def _whole(self, read: Any) -> Iterator[tuple[str, Tensor]]:
        for name, parameter in trained(self.model).items():
            shape = getattr(parameter, "ds_shape", parameter.shape)
            yield name, read(parameter).detach().cpu().clone().view(shape)

    def restore(self, state: Tensors, step: int) -> None:
        """Put back what `state` told after so many steps; the values must stand in the network before the engine is made."""
        flats = (
            self.optimizer.fp32_partitioned_groups_flat
            if self.stage == 3
            else self.optimizer.single_partition_of_fp32_groups
        )
        for flat in flats:
            moments = {moment: torch.zeros_like(flat.data) for moment in MOMENTS}
            self.optimizer.optimizer.state[flat] = {"step": torch.tensor(float(step)), **moments}
        if self.stage < 3:
            self._restore_whole(state)
        else:
            self._restore_parts(state)

    def _restore_whole(self, state: Tensors) -> None:
        from deepspeed.utils import safe_set_full_fp32_param, safe_set_full_optimizer_state

        self.optimizer._lazy_init_hp_params_optimizer_state()
        for name, parameter in trained(self.model).items():
            safe_set_full_fp32_param(parameter, state[f"value.{name}"])
            for moment in MOMENTS:
                safe_set_full_optimizer_state(parameter, state[f"{moment}.{name}"], moment)

    def _restore_parts(self, state: Tensors) -> None:
        """Each process sets its own part: the setters of whole tensors overrun where a size is no multiple of the processes."""
        from deepspeed.utils import safe_get_local_fp32_param, safe_set_local_fp32_param, safe_set_local_optimizer_state

        for name, parameter in trained(self.model).items():
            size = safe_get_local_fp32_param(parameter).numel()

            def part(value: Tensor, size: int = size) -> Tensor:
                padded = nn.functional.pad(value.float().flatten(), (0, size * ranks.world() - value.numel()))
                return padded[ranks.rank() * size :][:size]

            safe_set_local_fp32_param(parameter, part(state[f"value.{name}"]))
            for moment in MOMENTS:
                safe_set_local_optimizer_state(parameter, part(state[f"{moment}.{name}"]), moment)


Engine = Plain | Zero


def check(recipe: Recipe) -> None:
    """Refuse, with the mend, what no engine can train. Raises ValueError."""
    if recipe.zero_stage == 3 and recipe.quantisation != "none":
        raise ValueError(f"{recipe.name}: 4-bit weights cannot be dealt out to processes; set zero_stage to 2")
    if recipe.quantisation == "int8":
        raise ValueError(f"{recipe.name}: 8-bit weights serve for scoring alone; set quantisation to nf4 or none")


def start(model: nn.Module, recipe: Recipe) -> Engine:
    """The engine of a recipe, around a network that `make_trainable` has prepared."""
    return Zero(model, recipe) if recipe.zero_stage else Plain(model, recipe)
