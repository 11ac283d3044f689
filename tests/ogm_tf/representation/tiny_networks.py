"""The three networks in sizes that are no preset's, and fit into milliseconds."""

from ogm_tf.representation import avca, avsa, l3_net

NETWORKS = {"l3_net": l3_net, "avsa": avsa, "avca": avca}
TINY = {
    "l3_net": {
        "audio_shape": (17, 13, 1),
        "visual_shape": (15, 14, 3),
        "channels": (2, 3),
        "head_units": 16,
        "batch_norm_momentum": 0.8,
    },
    "avsa": {
        "audio_shape": (2048, 1),
        "visual_shape": (6, 16, 16, 3),
        "width": 2,
        "audio_kernels": (9, 5),
        "visual_kernel": (3, 3, 3),
        "batch_norm_momentum": 0.8,
        "renormalization": True,
        "last_stride": 1,
        "pooling_seed": 3,
    },
    "avca": {
        "audio_shape": (64, 8, 1),
        "visual_shape": (4, 32, 16, 3),
        "width": 2,
        "blocks_per_stage": 1,
        "attention_units": 4,
        "head_units": 6,
        "batch_norm_momentum": 0.8,
    },
}
