"""Which trainable variable belongs to which modality, and which of them are modulated."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

VariableFilter = Callable[[tf.Variable], bool]


def is_kernel(variable: tf.Variable) -> bool:
    """Accepts weights of rank 2 and above; no bias of any rank, no `gamma` or `beta`.

    The authors modulate convolution kernels because their encoders consist of convolutions, and
    advise the same for dense layers inside an encoder (their issue 22).
    """
    leaf = variable.name.split("/")[-1].split(":")[0]
    return variable.shape.rank >= 2 and "bias" not in leaf and leaf not in ("gamma", "beta")


def is_convolution_kernel(variable: tf.Variable) -> bool:
    """Accepts rank 4 only, as the authors' released code."""
    return variable.shape.rank == 4


def is_any(variable: tf.Variable) -> bool:
    """Accepts every variable, as the paper's text."""
    return True


FILTERS: dict[str, VariableFilter] = {
    "kernels": is_kernel,
    "conv": is_convolution_kernel,
    "all": is_any,
}


def get_filter(variables: str | VariableFilter) -> VariableFilter:
    """Returns a variable filter by name, or the callable itself.

    Raises:
      ValueError: where the name is unknown.
    """
    if callable(variables):
        return variables
    if variables not in FILTERS:
        raise ValueError(
            f"`variables` must be one of {', '.join(FILTERS)}, or a function variable -> bool. "
            f"Received: variables={variables!r}."
        )
    return FILTERS[variables]


def serialized_filter(variables: str | VariableFilter) -> Any:
    """Returns what a configuration says of a filter."""
    return keras.saving.serialize_keras_object(variables) if callable(variables) else variables


def modulated_names(
    branches: Mapping[str, Sequence[tf.Variable]], accepts: VariableFilter
) -> dict[int, str]:
    """Returns the modality of every variable that is to be modulated.

    Args:
      branches: Each modality's trainable variables; an empty branch is frozen.
      accepts: Which of them are modulated.

    Returns:
      `{id(variable): modality}`.

    Raises:
      ValueError: where two modalities claim one variable, or where a modality owns trainable
        variables of which none is accepted.
    """
    owners: dict[int, str] = {}
    modulated: dict[int, str] = {}
    for name, variables in branches.items():
        for variable in variables:
            owner = owners.setdefault(id(variable), name)
            if owner != name:
                raise ValueError(
                    "A variable must belong to one modality only. Received: "
                    f"{variable.name} in both {owner!r} and {name!r}."
                )
            if accepts(variable):
                modulated[id(variable)] = name
        if variables and name not in modulated.values():
            raise ValueError(
                f"The modality {name!r} owns {len(variables)} trainable variables, of which the "
                "policy's filter `variables` must accept at least one. Received: "
                f"{', '.join(variable.name for variable in variables[:8])}, none accepted."
            )
    return modulated
