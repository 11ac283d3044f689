"""What a server is sent of each modality, and how that becomes the model's input."""

import dataclasses
from collections.abc import Callable
from typing import TypeVar

import tensorflow as tf

FrontEnd = Callable[[tf.Tensor], tf.Tensor]
Values = TypeVar("Values")

RAW_INPUTS = {
    "audio": tf.TensorSpec([None, None], tf.float32, name="waveform"),
    "visual": tf.TensorSpec([None, None, None, None, 3], tf.uint8, name="frames"),
}


@dataclasses.dataclass(frozen=True)
class ServedInput:
    """One input of a signature.

    Args:
      received: What the server is sent, named.
      features: What the model gets, `[B, ...]`, named as the modality.
      convert: From the one to the other.
    """

    received: tf.TensorSpec
    features: tf.TensorSpec
    convert: FrontEnd


def required(values: Values, condition: tf.Tensor, rule: str, *received: tf.Tensor) -> Values:
    """Returns tensors that can be had only where a condition holds, in the graph.

    Args:
      values: A tensor, or a structure of them.
      condition: Boolean scalar. Where it is false, the request is an error.
      rule: What the error says: one sentence, and what was received, "{}" for each value of it.
      *received: The values.
    """
    message = tf.strings.format(rule, received, summarize=8)
    with tf.control_dependencies([tf.debugging.Assert(condition, [message])]):
        return tf.nest.map_structure(tf.identity, values)


def raw(name: str, front_end: FrontEnd) -> ServedInput:
    """Returns what the front end declares as its input, or what is usual for the modality.

    A request of no clips, and one whose waveforms or frames are none or no numbers, is an error
    that says so.

    Args:
      name: Of the modality.
      front_end: Of TensorFlow operations.

    Raises:
      ValueError: where there is no such input, or it has no name.
    """
    received = getattr(front_end, "raw_input", RAW_INPUTS.get(name))
    if not isinstance(received, tf.TensorSpec) or not received.name:
        raise ValueError(
            f"The front end of {name!r} must declare its input as `raw_input`, a named "
            f"tf.TensorSpec. Received: raw_input={received!r}."
        )
    is_usual = received == RAW_INPUTS.get(name)

    # Traced once, however many signatures use it.
    @tf.function(input_signature=[received])
    def traced(value):
        value = _not_empty(value, received.name, None if is_usual else 1)
        if is_usual and received.dtype.is_floating:
            rows = tf.reduce_all(tf.math.is_finite(value), axis=-1)
            rule = f"`{received.name}` must be finite. Received: NaN or infinity in the clips {{}}."
            value = required(value, tf.reduce_all(rows), rule, tf.where(~rows)[:, 0])
        return front_end(value)

    output = traced.get_concrete_function().structured_outputs
    return ServedInput(received, tf.TensorSpec(output.shape, output.dtype, name), traced)


def wav(waveforms: ServedInput, sample_rate_hz: int) -> ServedInput:
    """Returns the bytes of 16-bit WAV files `[B]`, each of any length, as an input `audio_wav`.

    Channels are averaged. A file of another sample rate is an error of the request, which says so.

    Args:
      waveforms: The raw input `[B, samples]`.
      sample_rate_hz: Of the waveforms.
    """
    rule = (
        f"`audio_wav` must have the sample rate of the model, {sample_rate_hz} Hz. "
        "Received: sample_rate_hz={}."
    )

    def convert(content: tf.Tensor) -> tf.Tensor:
        samples, rate = tf.audio.decode_wav(content)
        samples = required(samples, rate == sample_rate_hz, rule, rate)
        return waveforms.convert(tf.reduce_mean(samples, axis=-1)[tf.newaxis])[0]

    return _file_by_file(convert, tf.TensorSpec([None], tf.string, "audio_wav"), waveforms)


def jpeg(frames: ServedInput) -> ServedInput:
    """Returns the bytes of JPEG files `[B, N]` as an input `frames_jpeg`.

    The frames of one clip must be of one size, or the request is an error that says so; the clips
    of a batch may differ.

    Args:
      frames: The raw input `[B, N, H, W, 3]`.
    """
    rule = "`frames_jpeg` must be of one size in a clip. Received: heights={}, widths={}."

    def convert(contents: tf.Tensor) -> tf.Tensor:
        sizes = tf.map_fn(
            tf.io.extract_jpeg_shape, contents, fn_output_signature=tf.TensorSpec([3], tf.int32)
        )
        same = tf.reduce_all(sizes[:, :2] == sizes[:1, :2])
        decoded = tf.map_fn(
            lambda content: tf.image.decode_jpeg(content, channels=3),
            required(contents, same, rule, sizes[:, 0], sizes[:, 1]),
            fn_output_signature=tf.TensorSpec([None, None, 3], tf.uint8),
        )
        return frames.convert(decoded[tf.newaxis])[0]

    return _file_by_file(convert, tf.TensorSpec([None, None], tf.string, "frames_jpeg"), frames)


def _file_by_file(convert: FrontEnd, received: tf.TensorSpec, raw: ServedInput) -> ServedInput:
    # Lengths and sizes differ, and it is a clip that is repeated or filled up, not a batch.
    one = tf.TensorSpec(raw.features.shape[1:], raw.features.dtype)
    return ServedInput(
        received,
        raw.features,
        lambda files: tf.map_fn(convert, _not_empty(files, received.name), fn_output_signature=one),
    )


def _not_empty(value: tf.Tensor, name: str, num_axes: int | None = None) -> tf.Tensor:
    """Returns a request's value, in which the first axes, or all, must have something."""
    shape = tf.shape(value)
    rule = f"`{name}` must not be empty. Received: shape={{}}."
    return required(value, tf.reduce_all(shape[:num_axes] > 0), rule, shape)
