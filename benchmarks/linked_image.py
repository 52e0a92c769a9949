"""One image of an engine for another one on this machine, without loading it."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from pathlib import Path

from docker import DockerClient


def link(source: DockerClient, image: str, data: Path) -> bool:
    """Give an engine that does not run yet the layers of another one's image as hard links; whether that was possible.

    It takes a second, and no room. Layers are never written to; the places are those of overlay2 since Docker 1.10.
    """
    root, digest = Path(source.info()["DockerRootDir"]), str(source.images.get(image).id).removeprefix("sha256:")
    images = Path("image/overlay2")
    config = images / "imagedb/content/sha256" / digest
    if not (root / config).is_file():
        return False
    places, shorts, chain = [str(config)], {}, ""
    for layer in json.loads((root / config).read_bytes())["rootfs"]["diff_ids"]:
        chain = f"sha256:{hashlib.sha256(f'{chain} {layer}'.encode()).hexdigest()}" if chain else layer
        known = images / "layerdb/sha256" / chain.removeprefix("sha256:")
        content = (root / known / "cache-id").read_text()
        places += [str(known), f"overlay2/{content}"]
        shorts[(root / "overlay2" / content / "link").read_text()] = f"../{content}/diff"
    for folder in (config.parent, images / "layerdb/sha256", Path("overlay2/l")):
        (data / folder).mkdir(parents=True)
    command = ["unshare", "--mount", "sh", "-c", _LINK, "sh", str(root), str(data), *places]
    if subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode:
        shutil.rmtree(data)
        return False
    for short, layer in shorts.items():
        (data / "overlay2/l" / short).symlink_to(layer)
    names = {image.partition(":")[0]: {image: f"sha256:{digest}"}}
    (data / images / "repositories.json").write_text(json.dumps({"Repositories": names}))
    return True


_LINK = """
root=$1 data=$2
shift 2
umount --lazy "$root"  # an engine mounts its folder on itself, and links never cross a mount; here only we see it
for place; do cp --archive --link "$root/$place" "$data/$place" || exit 1; done
"""
