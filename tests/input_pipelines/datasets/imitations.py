"""Small imitations of the datasets' folders: their own lists, empty media."""

import pathlib


def write(folder: pathlib.Path, name: str, content: str | bytes = b"") -> None:
    """Writes a file and the folders above it."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)


def brief(listing) -> dict[str, tuple[str, str, str]]:
    """Returns split, label and relative path of each clip by its name."""
    root = listing.root + "/"
    return {
        clip.clip_id: (clip.split, clip.label, clip.path.removeprefix(root))
        for clip in listing.clips
    }
