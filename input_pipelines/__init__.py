"""From media files on a disk to batches of tensors. Knows nothing of models.

Importing this package is light on purpose: the worker processes that decode media must not pay
for TensorFlow.
"""
