"""A callback that says, while a network is trained, what its encoders know."""

from collections.abc import Mapping

import keras
import tensorflow as tf

from ogm_tf.representation.branch_probe import describer, ridge_accuracy


class ProbeCurve(keras.callbacks.Callback):
    """Adds `val_<name>_probe_accuracy` of each encoder to the logs of every N-th epoch.

    A least-squares classifier (`branch_probe.fit_ridge`) is fitted to what an encoder says, in
    inference mode, of some training samples, and asked about the validation samples. It works on
    copies of the encoders, so that training goes on as if it had not been there, under any
    strategy; of several workers each must have it. Make it outside of the strategy's scope and
    before the callbacks that read the logs:

    ```python
    probe = ProbeCurve(model.encoders, training, validation, num_classes=6, every_epochs=5)
    history = model.fit(dataset, epochs=100, validation_data=validation, callbacks=[probe])
    ```

    Args:
      encoders: Of the model that is trained, which has them as its attribute `encoders`.
      training: Batches `({name: [B, ...]}, labels int [B], weights [B])`, the same whenever they
        are read; rows of weight 0 do not count.
      validation: The same of the validation samples.
      num_classes: Of the labels.
      every_epochs: N, >= 1.

    Raises:
      ValueError: where `every_epochs` is out of its range.
    """

    def __init__(
        self,
        encoders: Mapping[str, keras.Model],
        training: tf.data.Dataset,
        validation: tf.data.Dataset,
        num_classes: int,
        every_epochs: int,
    ):
        super().__init__()
        if every_epochs < 1:
            raise ValueError(
                f"`every_epochs` must be >= 1. Received: every_epochs={every_epochs!r}."
            )
        self.every_epochs = every_epochs
        self._splits = (training, validation)
        self._num_classes = num_classes
        self._copies = {
            name: type(encoder).from_config(encoder.get_config())
            for name, encoder in encoders.items()
        }
        self._describe = describer(self._copies)

    def on_epoch_end(self, epoch, logs=None):
        if logs is None or (epoch + 1) % self.every_epochs:
            return
        for name, copy in self._copies.items():
            copy.set_weights(self.model.encoders[name].get_weights())
        training, validation = map(self._describe, self._splits)
        for name in self._copies:
            logs[f"val_{name}_probe_accuracy"] = ridge_accuracy(
                (training.features[name], training.labels),
                (validation.features[name], validation.labels),
                self._num_classes,
            )
