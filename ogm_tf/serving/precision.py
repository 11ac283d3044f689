"""Models in float32, whatever precision they were trained in."""

from typing import Any

import keras


def in_float32(model: keras.Model) -> keras.Model:
    """Returns the model itself, or, where it computes in another precision, a float32 copy.

    Args:
      model: A model with weights.
    """
    config = model.get_config()
    float32_config = _with_float32(config)
    if float32_config == config:
        return model
    copy = type(model).from_config(float32_config)
    copy.build_from_config(model.get_build_config())
    copy.set_weights(model.get_weights())
    return copy


def _with_float32(config: Any) -> Any:
    """Returns a Keras configuration with every precision policy replaced by float32."""
    if isinstance(config, dict):
        if config.get("class_name") == "Policy":
            return "float32"
        return {
            key: "float32" if key == "dtype" and _is_reduced(value) else _with_float32(value)
            for key, value in config.items()
        }
    if isinstance(config, list | tuple):
        return type(config)(_with_float32(value) for value in config)
    return config


def _is_reduced(dtype: Any) -> bool:
    if isinstance(dtype, dict):
        dtype = dtype.get("config", {}).get("name")
    return dtype in ("mixed_float16", "mixed_bfloat16", "float16", "bfloat16", "float64")
