"""The layers that the networks are assembled of, drawn as PyTorch draws them."""

import keras

from ogm_tf.representation.parts import built

# A loop costs as much as the small products in it; written out, long ones take long to trace.
_LONGEST_UNROLLED = 32


def dense(
    width: int,
    units: int,
    name: str,
    *,
    use_bias: bool = True,
    glorot: bool = False,
    **kwargs,
) -> keras.layers.Dense:
    """Returns a linear map with its variables.

    Args:
      width: Numbers in, >= 1.
      units: Numbers out, >= 1.
      name: Of the layer.
      use_bias: Whether it adds a bias, drawn from +-1 / sqrt(width).
      glorot: Whether the kernel is Glorot-uniform, or else drawn from +-1 / sqrt(width).
      **kwargs: Of `keras.layers.Dense`.
    """
    kernel = keras.initializers.GlorotUniform() if glorot else _uniform(width)
    layer = keras.layers.Dense(
        units,
        use_bias=use_bias,
        kernel_initializer=kernel,
        bias_initializer=_uniform(width),
        name=name,
        **kwargs,
    )
    return built(layer, [None, width])


def bidirectional_lstm(
    steps: int, width: int, units: int, name: str, **kwargs
) -> keras.layers.Bidirectional:
    """Returns an LSTM in each direction of time, with its variables: `[B, T, D] -> [B, T, 2 U]`.

    All weights come from +-1 / sqrt(units), without a bias of 1 for the gate that forgets. PyTorch
    keeps two biases a gate, of which only the sum counts; Keras keeps that.

    Args:
      steps: Number of steps T, >= 1.
      width: Numbers of a step, D, >= 1.
      units: Of each direction, U, >= 1.
      name: Of the layer.
      **kwargs: Of `keras.layers.LSTM`.
    """
    lstm = keras.layers.LSTM(
        units,
        return_sequences=True,
        kernel_initializer=_uniform(units),
        recurrent_initializer=_uniform(units),
        bias_initializer=_uniform(units),
        unit_forget_bias=False,
        unroll=steps <= _LONGEST_UNROLLED,
        name="lstm",
        **kwargs,
    )
    # A list would stand for the shapes of several inputs.
    shape = (None, steps, width)
    return built(keras.layers.Bidirectional(lstm, name=name, **kwargs), shape)


def _uniform(width: int) -> keras.initializers.RandomUniform:
    # One initialiser per weight: Keras draws the same values twice from one that is shared.
    return keras.initializers.RandomUniform(-(width**-0.5), width**-0.5)
