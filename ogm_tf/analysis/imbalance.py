"""Why the weak modality starves: the gradients of Sum and Concat fusion, taken apart.

Both heads add up what each modality u says, f(x) = sum over u of W^u phi^u + b^u (for Concat, b^u
is b / M of M modalities). So the mean cross-entropy over N clips has the gradients (Peng et al.,
"Balanced Multimodal Learning via On-the-fly Gradient Modulation", CVPR 2022, supplement, Eq. 2-5)

    dl/df(x_i)  = softmax(f(x_i)) - onehot(y_i)                    the shared factor
    dL/dW^u     = 1/N sum over i of dl/df(x_i) phi^u(x_i)^T
    dL/db^u     = 1/N sum over i of dl/df(x_i)
    dL/dtheta^u = 1/N sum over i of dl/df(x_i) d(W^u phi^u(x_i)) / dtheta^u

in which the other modalities stand nowhere but in the shared factor: one that knows the answer
makes it small, for all of them.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from ogm_tf.fusion import Concat, Sum
from ogm_tf.model import OGMModel

SUPPORTED = (Sum, Concat)


class Gradients(NamedTuple):
    """Gradients of the mean loss over N clips, with respect to what belongs to one modality.

    Args:
      kernel: Of W^u, `[D, C]`.
      bias: Of b^u, `[C]`; of Concat's b, which is the same.
      feature: Of phi^u, `[N, D]`: what the encoder is told.
      encoder: Of theta^u, one tensor a trainable variable of the encoder; none where it is frozen.
    """

    kernel: tf.Tensor
    bias: tf.Tensor
    feature: tf.Tensor
    encoder: list[tf.Tensor]


class Analysis(NamedTuple):
    """What some clips say and teach.

    Args:
      logits: Fused, `[N, C]`.
      parts: Each modality's logits `[N, C]`, which add up to the fused ones.
      shared: The shared factor `[N, C]`.
      closed_form: Each modality's gradients by the equations above.
      automatic: The same by automatic differentiation of the loss.
    """

    logits: tf.Tensor
    parts: dict[str, tf.Tensor]
    shared: tf.Tensor
    closed_form: dict[str, Gradients]
    automatic: dict[str, Gradients]


def shared_factor(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Returns dl/df of each clip, softmax(f) - onehot(y) (supplement, Eq. 5), `[..., C]`.

    Args:
      logits: Fused, `[..., C]`.
      labels: Integers that match the leading axes.
    """
    return tf.nn.softmax(logits) - tf.one_hot(labels, tf.shape(logits)[-1], dtype=logits.dtype)


def head_gradients(
    shared: tf.Tensor, feature: tf.Tensor, kernel: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Returns the gradients of the mean loss in closed form (supplement, Eq. 2-4).

    Args:
      shared: The shared factor `[N, C]`.
      feature: phi^u, `[N, D]`.
      kernel: W^u, `[D, C]`.

    Returns:
      Those of W^u `[D, C]`, of b^u `[C]` and of phi^u `[N, D]`.
    """
    mean = shared / tf.cast(tf.shape(shared)[0], shared.dtype)
    return (
        tf.matmul(feature, mean, transpose_a=True),
        tf.reduce_sum(mean, axis=0),
        tf.matmul(mean, kernel, transpose_b=True),
    )


def leads(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Returns how far the true class stands above the mean of all classes, `[N]`.

    A softmax does not see what is added to all classes, so this, and not the logit itself, is what
    a modality does for the answer. The modalities' leads add up to the fused one.

    Args:
      logits: `[N, C]`, of a modality or fused.
      labels: Integers `[N]`.
    """
    return tf.gather(logits, labels, batch_dims=1) - tf.reduce_mean(logits, axis=-1)


def what_if(
    parts: Mapping[str, tf.Tensor], labels: tf.Tensor, name: str, scales: Sequence[float]
) -> tf.Tensor:
    """Returns the shared factor as it would be if one modality said all it says more loudly.

    Args:
      parts: Each modality's logits `[N, C]`.
      labels: Integers `[N]`.
      name: Of the modality whose logits are scaled.
      scales: S factors: 0 leaves the modality out, 1 changes nothing.

    Returns:
      `[S, N, C]`.

    Raises:
      ValueError: where there is no such modality.
    """
    if name not in parts:
        raise ValueError(f"`name` must be one of {', '.join(parts)}. Received: name={name!r}.")
    others = tf.add_n([part for other, part in parts.items() if other != name])
    return tf.stack([shared_factor(others + scale * parts[name], labels) for scale in scales])


class Imbalance:
    """The gradients of a trained network, in closed form and by automatic differentiation.

    Encoders are called as in evaluation: batch normalisation by its moving averages, without
    dropout. In training its statistics tie the clips of a batch together, and the gradient of
    the mean would be no mean over clips. The loss is the cross-entropy alone: penalties on weights
    reach each modality by themselves. Nothing is modulated.

    Example:

    ```python
    analysis = imbalance.Imbalance(model)(inputs, labels)
    tf.norm(analysis.closed_form["visual"].kernel)
    ```

    Args:
      model: With fusion `Sum` or `Concat`, of any number of modalities; one that has been called.

    Call arguments:
      inputs: `{modality: [N, ...]}`.
      labels: Integers `[N]`.

    Raises:
      ValueError: where the fusion is another one, or the model has not been called.
    """

    def __init__(self, model: OGMModel):
        is_of_towers = isinstance(model, OGMModel) and type(model).forward is OGMModel.forward
        if not is_of_towers or type(model.fusion) not in SUPPORTED:
            received = type(getattr(model, "fusion", None) if is_of_towers else model).__name__
            raise ValueError(
                "The gradients can be taken apart where the fusion is one of "
                f"{', '.join(kind.__name__ for kind in SUPPORTED)}. Received: {received}."
            )
        if not model.fusion.built:
            raise ValueError(
                "A network must have been called before its gradients are taken apart. "
                f"Received: {model.name}, which has not."
            )
        self.model = model
        self.modalities = tuple(model.encoders)
        # Batches and single clips: the second shape makes the graph one of any number of clips.
        self._analyze = tf.function(self._taken_apart, reduce_retracing=True)

    def __call__(self, inputs: Mapping[str, Any], labels: Any) -> Analysis:
        inputs = {name: tf.convert_to_tensor(inputs[name]) for name in self.modalities}
        return self._analyze(inputs, tf.convert_to_tensor(labels))

    def _taken_apart(self, inputs: dict[str, tf.Tensor], labels: tf.Tensor) -> Analysis:
        encoders, fusion = self.model.encoders, self.model.fusion
        with tf.GradientTape(persistent=True) as tape:
            features = {
                name: encoder(inputs[name], training=False) for name, encoder in encoders.items()
            }
            # What is frozen has a gradient all the same.
            tape.watch([*features.values(), *fusion.weights])
            logits, parts = fusion(list(features.values()))
            loss = tf.reduce_mean(
                tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
            )
        shared = shared_factor(logits, labels)
        return Analysis(
            logits,
            dict(zip(encoders, parts, strict=True)),
            shared,
            self._closed_form(tape, features, shared),
            self._automatic(tape, features, loss),
        )

    def _closed_form(self, tape, features, shared) -> dict[str, Gradients]:
        found = {}
        for (name, feature), (kernel, _) in zip(
            features.items(), self.model.fusion.heads, strict=True
        ):
            of_kernel, of_bias, of_feature = head_gradients(
                shared, tf.cast(feature, shared.dtype), kernel
            )
            of_encoder = _gradient(
                tape,
                feature,
                self.model.encoders[name].trainable_variables,
                output_gradients=tf.cast(of_feature, feature.dtype),
            )
            found[name] = Gradients(of_kernel, of_bias, of_feature, of_encoder)
        return found

    def _automatic(self, tape, features, loss) -> dict[str, Gradients]:
        fusion = self.model.fusion
        if isinstance(fusion, Sum):
            heads = [_gradient(tape, loss, head) for head in fusion.heads]
        else:
            of_kernel, of_bias = _gradient(tape, loss, (fusion.kernel, fusion.bias))
            widths = [rows.shape[0] for rows, _ in fusion.heads]
            heads = [(rows, of_bias) for rows in tf.split(of_kernel, widths)]
        found = {}
        for (name, feature), (of_kernel, of_bias) in zip(features.items(), heads, strict=True):
            (of_feature,) = _gradient(tape, loss, [feature])
            of_encoder = _gradient(tape, loss, self.model.encoders[name].trainable_variables)
            of_feature = tf.cast(of_feature, of_kernel.dtype)
            found[name] = Gradients(of_kernel, of_bias, of_feature, of_encoder)
        return found


def _gradient(tape: tf.GradientTape, target, sources, **kwargs) -> list[tf.Tensor]:
    """Returns dense gradients, zero for what the target does not depend on."""
    zero = tf.UnconnectedGradients.ZERO
    found = tape.gradient(target, list(sources), unconnected_gradients=zero, **kwargs)
    return [tf.convert_to_tensor(gradient) for gradient in found]
