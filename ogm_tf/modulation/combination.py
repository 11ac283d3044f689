"""Several ways of balancing modalities at once."""

from collections.abc import Sequence

import keras
import tensorflow as tf

from ogm_tf.modulation.interface import Modulation


@keras.saving.register_keras_serializable(package="ogm_tf")
class Combination(Modulation):
    """Does what each of several methods does; written `first + second`.

    Features pass one method after the other, losses add up, and one method at most has the
    gradients: what two of them make of each other's no paper says. Ratios and coefficients that
    `fit` reports are those of the method that has the gradients, or else of the first.

    Args:
      methods: Two or more, each of its own kind.

    Raises:
      ValueError: where two of them are of one kind, act on the gradients, or add the losses of each
        modality's own logits; or where MMPareto is not the only one that adds a loss.
      TypeError: where one is no method.
    """

    def __init__(self, methods: Sequence[Modulation]):
        super().__init__()
        for method in methods:
            if not isinstance(method, Modulation):
                raise TypeError(
                    "Only methods such as ogm_tf.OGM combine. "
                    f"Received: {type(method).__name__} among them."
                )
        self.methods = [
            own
            for method in methods
            for own in (method.methods if isinstance(method, Combination) else [method])
        ]
        kinds = [type(method).__name__ for method in self.methods]
        if len(kinds) < 2 or len(set(kinds)) < len(kinds):
            raise ValueError(
                "A combination must be of two or more different methods. "
                f"Received: {' + '.join(kinds) or 'none'}."
            )
        on_gradients = [method for method in self.methods if method.acts_on_gradients]
        if len(on_gradients) > 1:
            raise ValueError(
                "One method at most may act on the gradients: each is defined on those that "
                "backpropagation gives. Received: "
                f"{' + '.join(type(method).__name__ for method in on_gradients)}."
            )
        for method in on_gradients:
            if method.separates_losses and sum(own.acts_on_loss for own in self.methods) > 1:
                raise ValueError(
                    f"{type(method).__name__} weighs the gradients of losses of its own, and must "
                    f"be the only method that adds one. Received: {' + '.join(kinds)}."
                )
        with_losses = [method for method in self.methods if method.adds_unimodal_losses]
        if len(with_losses) > 1:
            raise ValueError(
                "One method at most may add the losses of each modality's own logits: two would "
                "weigh the same losses twice. Received: "
                f"{' + '.join(type(method).__name__ for method in with_losses)}."
            )
        self._leader = (on_gradients or self.methods)[0]
        self._sizes: list[int] = []
        for attribute in (
            "acts_on_features",
            "acts_on_loss",
            "acts_on_gradients",
            "separates_losses",
            "adds_unimodal_losses",
            "drops_features",
            "needs_features",
            "remembers",
        ):
            setattr(self, attribute, any(getattr(method, attribute) for method in self.methods))

    @property
    def name(self):
        return " + ".join(method.name for method in self.methods)

    @property
    def state(self):
        return {name: value for method in self.methods for name, value in method.state.items()}

    @property
    def pending(self):
        return {name: value for method in self.methods for name, value in method.pending.items()}

    def restore(self, values):
        for method in self.methods:
            method.restore(values)

    def require_free(self, network):
        for method in self.methods:
            method.require_free(network)

    def claim(self, network):
        # All or none.
        self.require_free(network)
        for method in self.methods:
            method.claim(network)

    def is_active(self, epoch):
        return self._leader.is_active(epoch)

    def change_features(self, features, moment):
        for method in self.methods:
            features = method.change_features(features, moment)
        return dict(features)

    def added_loss(self, step):
        losses = [method.added_loss(step) for method in self.methods if method.acts_on_loss]
        if not losses:
            return tf.zeros([])
        # Some methods compute in float32 whatever the network does.
        widest = max((loss.dtype for loss in losses), key=lambda dtype: dtype.size)
        return tf.add_n([tf.cast(loss, widest) for loss in losses])

    def statistics(self, step):
        own = [method.statistics(step) for method in self.methods]
        self._sizes = [int(part.shape[0]) for part in own]
        return tf.concat(own, axis=0)

    def ratios(self, scores, statistics):
        return self._leader.ratios(scores, self._part(self._leader, statistics))

    def coefficients(self, ratios):
        return self._leader.coefficients(ratios)

    def accepts(self, variable):
        return self._leader.accepts(variable)

    def modulate(self, *args, **kwargs):
        return self._leader.modulate(*args, **kwargs)

    def update_state(self, scores, statistics, finite):
        for method in self.methods:
            method.update_state(scores, self._part(method, statistics), finite)

    def get_config(self):
        methods = [keras.saving.serialize_keras_object(method) for method in self.methods]
        return {"methods": methods}

    @classmethod
    def from_config(cls, config):
        return cls([keras.saving.deserialize_keras_object(item) for item in config["methods"]])

    def _part(self, method: Modulation, statistics: tf.Tensor) -> tf.Tensor:
        """Returns a method's own part of what `statistics` joined."""
        index = self.methods.index(method)
        begin = sum(self._sizes[:index])
        return statistics[begin : begin + self._sizes[index]]
