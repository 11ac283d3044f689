"""A network of your own, balanced by OGM-GE: override `forward` and `branches`.

Two recurrent encoders whose features attend to each other before a shared classifier: no fusion
head of the library fits it, yet everything else of `OGMModel` works.

  python examples/own_network.py
"""

import keras
import numpy as np
import tensorflow as tf

import ogm_tf


@keras.saving.register_keras_serializable(package="examples")
class CrossAttentionNetwork(ogm_tf.OGMModel):
    """Sound and text as sequences, `[B, T, F]` each, `{"sound": ..., "text": ...}`.

    Args:
      num_classes: C.
      width: Of the encoders.
      **kwargs: `modulation` and what `keras.Model` takes.
    """

    def __init__(self, num_classes: int, width: int = 16, **kwargs):
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.width = width
        self.sound_encoder = keras.layers.GRU(width, return_sequences=True)
        self.text_encoder = keras.layers.GRU(width, return_sequences=True)
        self.attention = keras.layers.Attention()
        self.classifier = keras.layers.Dense(num_classes)

    def forward(self, inputs, training=False):
        """Returns the fused logits, and those of each modality with the other's feature at zero."""
        sound = self.sound_encoder(inputs["sound"], training=training)
        text = self.text_encoder(inputs["text"], training=training)
        heard = tf.reduce_mean(self.attention([sound, text]) + sound, axis=1)
        read = tf.reduce_mean(self.attention([text, sound]) + text, axis=1)
        fused = self.classifier(tf.concat([heard, read], axis=-1))
        zeros = tf.zeros_like(heard)
        alone = {
            "sound": self.classifier(tf.concat([tf.reduce_mean(sound, axis=1), zeros], axis=-1)),
            "text": self.classifier(tf.concat([zeros, tf.reduce_mean(text, axis=1)], axis=-1)),
        }
        return fused, alone

    @property
    def branches(self):
        """Each encoder's variables; attention and classifier serve both and are not modulated."""
        return {
            "sound": self.sound_encoder.trainable_variables,
            "text": self.text_encoder.trainable_variables,
        }

    def get_config(self):
        """Returns the constructor's arguments, so that `.keras` files can be loaded."""
        return {**super().get_config(), "num_classes": self.num_classes, "width": self.width}


def make_data(num_samples: int = 256) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Returns sequences of 10 steps whose mean tells the class: loudly in sound, softly in text."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, num_samples)
    signal = np.eye(8)[labels][:, None]
    noise = random.normal(size=(2, num_samples, 10, 8))
    inputs = {"sound": 2.0 * signal + noise[0], "text": 0.3 * signal + noise[1]}
    return {name: value.astype(np.float32) for name, value in inputs.items()}, labels


def main() -> keras.callbacks.History:
    """Trains for three epochs and returns the history."""
    model = CrossAttentionNetwork(num_classes=3, modulation=ogm_tf.OGMGE(alpha=0.5))
    model.compile(
        optimizer=keras.optimizers.Adam(1e-2),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    inputs, labels = make_data()
    return model.fit(inputs, labels, epochs=3, batch_size=32, verbose=2)


if __name__ == "__main__":
    keras.utils.set_random_seed(0)
    main()
