"""What a server is sent of each modality, and how that becomes the model's input."""

import dataclasses
from collections.abc import Callable

import tensorflow as tf

FrontEnd = Callable[[tf.Tensor], tf.Tensor]

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


def raw(name: str, front_end: FrontEnd) -> ServedInput:
    """Returns what the front end declares as its input, or what is usual for the modality.

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
    # Traced once, however many signatures use it.
    traced = tf.function(front_end, input_signature=[received])
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
        "Received: sample_rate_hz="
    )

    def convert(content: tf.Tensor) -> tf.Tensor:
        samples, rate = tf.audio.decode_wav(content)
        with tf.control_dependencies([tf.debugging.Assert(rate == sample_rate_hz, [rule, rate])]):
            return waveforms.convert(tf.reduce_mean(samples, axis=-1)[tf.newaxis])[0]

    return _file_by_file(convert, tf.TensorSpec([None], tf.string, "audio_wav"), waveforms)


def jpeg(frames: ServedInput) -> ServedInput:
    """Returns the bytes of JPEG files `[B, N]` as an input `frames_jpeg`.

    The frames of one clip must be of one size, or the request is an error that says so; the clips
    of a batch may differ.

    Args:
      frames: The raw input `[B, N, H, W, 3]`.
    """
    rule = "`frames_jpeg` must be of one size in a clip. Received: (height, width, channels)="

    def convert(contents: tf.Tensor) -> tf.Tensor:
        sizes = tf.map_fn(
            tf.io.extract_jpeg_shape, contents, fn_output_signature=tf.TensorSpec([3], tf.int32)
        )
        same = tf.reduce_all(sizes[:, :2] == sizes[:1, :2])
        with tf.control_dependencies([tf.debugging.Assert(same, [rule, sizes], summarize=30)]):
            decoded = tf.map_fn(
                lambda content: tf.image.decode_jpeg(content, channels=3),
                contents,
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
        lambda files: tf.map_fn(convert, files, fn_output_signature=one),
    )
