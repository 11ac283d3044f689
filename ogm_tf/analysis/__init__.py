"""For people: what was learnt, and what there was to learn from, as figures and HTML pages."""

from ogm_tf.analysis import data_page, figures, report

__all__ = ["data_page", "figures", "report"]
