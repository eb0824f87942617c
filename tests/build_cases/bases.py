"""The images that cases begin with, in one OCI image layout."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tests.support import images
from tests.support.images import directory, file, symlink, tar_of

TAGS = ("box", "rich", "python", "node")
_PIP = b"""#!/bin/sh
while [ $# -gt 0 ]; do
    case $1 in
    --find-links) wheels=$2; shift ;;
    --target) target=$2; shift ;;
    -r) list=$2; shift ;;
    esac
    shift
done
mkdir -p "$target"
grep -v '^#' "$list" | while IFS== read -r name _ version; do
    mkdir -p "$target/$name"
    cp "$wheels/$name-$version.whl" "$target/$name/__init__.py"
done
"""
_NPM = b"""#!/bin/sh
set -e
case $1 in
ci) while read -r name; do
        mkdir -p "node_modules/$name"
        echo "$name" >"node_modules/$name/index.js"
    done <package-lock.json
    cp package-lock.json /root/.npm/seen ;;
run) mkdir -p dist; cat src/*.js node_modules/*/index.js >dist/server.js ;;
esac
"""


_ADDGROUP = b"""#!/bin/sh
while getopts g:S option; do case $option in g) gid=$OPTARG ;; esac; done
shift $((OPTIND - 1))
echo "$1:x:$gid:" >>/etc/group
"""
_ADDUSER = b"""#!/bin/sh
shell=/bin/sh
while getopts DSHu:G:h:s: option; do
    case $option in
    H) none=1 ;;
    u) uid=$OPTARG ;;
    G) group=$OPTARG ;;
    h) home=$OPTARG ;;
    s) shell=$OPTARG ;;
    esac
done
shift $((OPTIND - 1))
[ "$group" ] || { group=$1; echo "$1:x:$uid:" >>/etc/group; }
gid=$(sed -n "s/^$group:x:\\([0-9]*\\):.*/\\1/p" /etc/group)
home=${home:-/home/$1}
echo "$1:x:$uid:$gid::$home:$shell" >>/etc/passwd
[ "$none" ] || { mkdir -p "$home"; chown "$uid:$gid" "$home"; }
"""
_INSTALL = b"""#!/bin/sh
[ "$1" = -m ] && mode=$2 && shift 2
cp "$1" "$2"
chmod "$mode" "$2"
"""


def write(target: Path) -> Path:
    """Make the layout."""
    layout = images.Layout(target)
    box = layout.add_layer(images.busybox_tar())
    tools = layout.add_layer(tar_of([
        directory("usr/sbin"), file("usr/sbin/addgroup", _ADDGROUP, 0o755), file("usr/sbin/adduser", _ADDUSER, 0o755),
        file("usr/bin/install", _INSTALL, 0o755), directory("srv"), file("etc/hosts", b"")]))  # fmt: skip
    more = layout.add_layer(tar_of([
        directory("data"), file("data/file", b"data\n", 0o640, 1000, 1000), symlink("link", "/data"),
        symlink("flink", "data/file"), file("usr/bin/setuid", b"#!", 0o4755)]))  # fmt: skip
    layout.add_image("box", [box, tools], {"Cmd": ["sh"], "Labels": {"maker": "tests"}})
    layout.add_image("rich", [box, tools, more], {
        "Env": [images.PATH, "FOO=base"], "User": "1000", "WorkingDir": "/home/user", "Cmd": ["sh"],
        "Entrypoint": ["/bin/busybox"], "Labels": {"maker": "tests"}, "ExposedPorts": {"80/tcp": {}},
        "Volumes": {"/data": {}}, "StopSignal": "SIGUSR1"})  # fmt: skip
    python = layout.add_layer(tar_of([
        file("usr/bin/pip", _PIP, 0o755), file("usr/bin/python", b"#!/bin/sh\necho python $*\n", 0o755),
        directory("usr/lib"), directory("usr/lib/python3"), directory("usr/lib/python3/site-packages")]))  # fmt: skip
    layout.add_image("python", [box, tools, python], {"Cmd": ["python"], "Env": [images.PATH, "LANG=C.UTF-8"]})
    node = layout.add_layer(tar_of([
        file("usr/bin/npm", _NPM, 0o755), file("usr/bin/node", b"#!/bin/sh\n", 0o755)]))  # fmt: skip
    layout.add_image("node", [box, tools, node], {"Cmd": ["node"], "Entrypoint": ["docker-entrypoint.sh"]})
    return target


def with_debian(target: Path, debian: Path) -> Path:
    """As `write`, with the image of the layout ``debian`` as another tag."""
    layout = write(target)
    for blob in (debian / "blobs" / "sha256").iterdir():
        shutil.copy(blob, layout / "blobs" / "sha256" / blob.name)
    index = json.loads((layout / "index.json").read_bytes())
    [entry] = json.loads((debian / "index.json").read_bytes())["manifests"]
    index["manifests"].append({**entry, "annotations": {"org.opencontainers.image.ref.name": "debian"}})
    (layout / "index.json").write_text(json.dumps(index))
    return layout
