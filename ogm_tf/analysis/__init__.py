"""What was learnt, for people: figures and one HTML page that compares runs."""

from ogm_tf.analysis import figures, report

__all__ = ["figures", "report"]
