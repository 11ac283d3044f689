"""Writes shards on a cluster: the work of `prepare` as an Apache Beam pipeline.

Needs `pip install .[beam]`, this project on every worker, and an output folder and media that all
of them see. A shard is one element: written by the same functions as on one machine, to the same
bytes. Workers leave their reports beside the shards, so a pipeline that died goes on.
"""

import contextlib
from collections.abc import Iterator, Sequence

import tqdm

from input_pipelines import shards, workers
from input_pipelines.preparation import Engine
from input_pipelines.shards import Job, PlannedShard, ShardReport


def engine(options: Sequence[str] = ()) -> Engine:
    """Returns what `preparation.prepare` takes as its `engine`.

    Args:
      options: Beam's own, such as "--runner=FlinkRunner"; none: the DirectRunner of this machine.

    Raises:
      ImportError: where Apache Beam is not installed.
      ValueError: where an option is none of Beam's.
    """
    try:
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError as error:
        raise ImportError(
            "--runner=beam needs Apache Beam: pip install '.[beam]'. Received: " + str(error) + "."
        ) from error
    pipeline_options = PipelineOptions(list(options))
    parsed = pipeline_options.get_all_options(retain_unknown_options=True)
    unknown = sorted(parsed.keys() - pipeline_options.get_all_options().keys())
    if unknown:
        raise ValueError(f"Options must be those of Apache Beam. Received: {', '.join(unknown)}.")

    def write(
        job: Job, planned: Sequence[PlannedShard], bar: tqdm.tqdm
    ) -> Iterator[tuple[PlannedShard, ShardReport]]:
        with beam.Pipeline(options=pipeline_options) as pipeline:
            _ = (
                pipeline
                | "Shards" >> beam.Create(list(planned))
                | "Spread over workers" >> beam.Reshuffle()
                | "Write shard" >> beam.Map(_write_shard, job)
            )
        for shard in planned:
            report = shards.finished_report(job, shard)
            if report is None:
                raise RuntimeError(
                    "Beam's workers must write to the folder that this program reads. Received: "
                    f"output_dir={job.output_dir!r}, without {shard.name}."
                )
            bar.update(len(shard.clips))
            yield shard, report

    return write


def _write_shard(planned: PlannedShard, job: Job) -> None:
    # In a process of its own: a clip that ends it must not end Beam's worker.
    outcomes = workers.decode_in_order(planned.clips, job.settings, job.limits, num_workers=1)
    with contextlib.closing(outcomes):
        shards.write(job, planned, outcomes)
