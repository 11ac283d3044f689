"""Your own clips, sorted into one folder a class.

The folder it expects, with the splits train, test and, if you have one,
validation (or val):

  <data_dir>/train/dog/anything.mp4
  <data_dir>/validation/dog/other.mkv
  <data_dir>/test/dog/more.webm

or without splits:

  <data_dir>/dog/anything.mp4
  <data_dir>/cat/other.mkv

There are no lists. Without splits, about 10 % of each class are for
testing: those whose names have the largest SHA-256, at least one of two
clips; the others stay where they are when clips are added. Where there is
no validation split, `--validation_fraction` holds out a part of train.

Classes: the names of the folders of train, sorted. Clips are called by
their path inside of `data_dir` without suffix, such as train/dog/anything,
so two files of a folder must not differ in their suffix alone. Media are
mp4, mkv, webm, avi, mov, flv, mpg, m4v, wmv and 3gp; wav, flac, ogg, mp3,
m4a, opus and aac where only sound is wanted. Other files in the folder of a
class are listed as missing, hidden ones ignored.

For sound in a file of its own, parts of longer files, or folders of frames,
write a manifest instead (`--manifest`).

Preset: none is published for your clips;
launchers/presets/crema_d_paper.flags is a good start for short clips,
launchers/presets/vggsound.flags for longer ones.
"""

from input_pipelines import files
from input_pipelines.datasets import layouts
from input_pipelines.listing import Listing

SPLITS = {"train": "train", "validation": "validation", "val": "validation", "test": "test"}
EXPECTED = "<split>/<class>/<media>, with the split train among them, or <class>/<media>"


def list_clips(data_dir: files.Path, fold: int | None = None) -> Listing:
    """Lists the clips.

    Args:
      data_dir: Folder described above.
      fold: None; there are no folds.

    Raises:
      FileNotFoundError: where there is no such folder or nothing is in it.
      ValueError: where a folder has no media, two files differ in their suffix alone, or a folder
        stands beside the splits.
    """
    layouts.refuse_fold(fold, "A folder a class")
    root = layouts.find_root(data_dir, EXPECTED)
    builder = layouts.ListingBuilder(root, EXPECTED)
    top = _folders_in(root)
    # "train" may as well be a class, of trains.
    if "train" in top and _folders_in(files.join(root, "train")):
        strange = sorted(set(top) - set(SPLITS))
        if strange:
            raise ValueError(
                f"Beside train there may only be {', '.join(list(SPLITS)[1:])}. "
                f"Received: folders={strange} in data_dir={root!r}."
            )
        splits = sorted(top, key=list(SPLITS).index)
        classes = [
            (f"{split}/{label}", SPLITS[split], label)
            for split in splits
            for label in _folders_in(files.join(root, split))
        ]
    else:
        splits = []
        classes = [(label, None, label) for label in top]
    for folder, split, label in classes:
        _add_class(builder, folder, split, label)
    for folder in ("", *splits):
        for name in filter(_is_media, files.names_in(files.join(root, folder))):
            path = files.join(folder, name)
            reason = f"{path} is not in the folder of a class"
            builder.add(path, path, SPLITS.get(folder, "train"), "", {}, reason)
    labels = sorted({label for _, split, label in classes if split in (None, "train")})
    return builder.build(labels)


def _folders_in(folder: str) -> list[str]:
    names = files.names_in(folder)
    return [
        name
        for name in names
        if not name.startswith(".")
        and not _is_media(name)
        and files.is_folder(files.join(folder, name))
    ]


def _is_media(name: str) -> bool:
    return files.suffix(name) in layouts.VIDEO_SUFFIXES + layouts.SOUND_SUFFIXES


def _add_class(builder: layouts.ListingBuilder, folder: str, split: str | None, label: str) -> None:
    """Adds the clips of one folder; where it belongs to no split, some are for testing."""
    names = [n for n in files.names_in(files.join(builder.root, folder)) if not n.startswith(".")]
    media = {name: f"{folder}/{_without_suffix(name)}" for name in names if _is_media(name)}
    if not media:
        raise ValueError(
            f"Every class must have media; expected {builder.expected}. "
            f"Received: folder={folder!r} in data_dir={builder.root!r}."
        )
    test = layouts.hashed_test_part(media.values()) if split is None else set()
    for name in names:
        clip_id = media.get(name, f"{folder}/{name}")
        reason = "" if name in media else f"{folder}/{name} is not of a known kind of media"
        chosen = split or ("test" if clip_id in test else "train")
        path = files.join(builder.root, folder, name)
        builder.add(f"{folder}/{name}", clip_id, chosen, label, {"path": path}, reason)


def _without_suffix(name: str) -> str:
    return name[: len(name) - len(files.suffix(name))]
