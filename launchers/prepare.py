r"""Media and labels become record shards.

Your own clips, described by a manifest (columns clip_id, split, label, path, and optionally
audio_path, flow_x_path, flow_y_path, start_s, end_s, group, event_start_s, event_end_s):

  python -m launchers.prepare --manifest=data/manifest.csv --output_dir=records/mine

Whole files, for events to be found in (see launchers.extract); where the manifest has start_s and
end_s but no columns of events, the event is from the one to the other:

  python -m launchers.prepare --manifest=data/manifest.csv --whole_files --output_dir=records/files

A known dataset (see --data_dir), with the paper's settings:

  python -m launchers.prepare --dataset=crema_d --data_dir=/data/CREMA-D \
      --output_dir=records/crema_d --flagfile=launchers/presets/crema_d.flags

The same command goes on where it was stopped, and does nothing where it has finished. On a cluster,
with a folder that all of its machines see:

  python -m launchers.prepare --runner=beam ... -- --runner=FlinkRunner --flink_master=...

Whether records are whole:

  python -m launchers.prepare --verify --output_dir=records/mine
"""

import dataclasses

from launchers.preparing import PrepareSettings
from launchers.settings import launch


def run(settings: PrepareSettings) -> None:
    """Writes, or verifies, the records."""
    if settings.verify:
        from input_pipelines import verification

        verification.verify(settings.output_dir)
        return
    clip_settings, limits = settings.clip_settings(), settings.limits()
    # They load TensorFlow: not before the flags are known to be right.
    from input_pipelines import datasets, listing, manifest, preparation, synthetic

    engine = None
    if settings.runner == "beam":
        from input_pipelines import beam_engine

        engine = beam_engine.engine(settings.beam_options)
    source = settings.manifest
    if settings.whole_files:
        source = listing.whole_files(manifest.read_manifest(source))
    if settings.dataset in synthetic.DATASETS:
        source = synthetic.write_dataset(
            settings.data_dir,
            dataclasses.replace(synthetic.DATASETS[settings.dataset], seed=settings.dataset_seed),
            num_workers=settings.num_workers,
        )
    elif settings.dataset is not None:
        source = datasets.get(settings.dataset).list_clips(settings.data_dir, settings.dataset_fold)
    preparation.prepare(
        source,
        settings.output_dir,
        clip_settings,
        validation_fraction=settings.validation_fraction,
        max_bad_fraction=settings.max_bad_fraction,
        num_workers=settings.num_workers,
        clips_per_shard=settings.clips_per_shard,
        limits=limits,
        engine=engine,
    )


if __name__ == "__main__":
    launch(PrepareSettings, run, rest="beam_options")
