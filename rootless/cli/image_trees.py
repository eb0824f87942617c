"""`image tree`, `image mount` and `image unmount`."""

from __future__ import annotations

from rootless.cli import render
from rootless.engine.context import open_engine
from rootless.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from rootless.engine.images.tree import Layer

    Values = dict[str, Any]


def tree(values: Values, args: list[str], global_values: Values) -> int:
    """``image tree``: the layers of an image, or with ``--whatrequires`` those that others have above its last."""
    from rootless.engine.images import names
    from rootless.engine.images import tree as layers

    engine = open_engine(global_values)
    image = names.find(engine, args[0])
    tags = " ".join(name for name in image.names if "@" not in name)
    lines = [f"Image ID: {image.id[:12]}", f"Tags:     [{tags}]", f"Size:     {_size(image.size)}"]
    lines.append("Image Layers" if image.diff_ids else "No Image Layers")
    if values.get("whatrequires") and image.diff_ids:
        lines += _below([layers.layers_of(engine, image)[0]], "")
    else:
        own = layers.layers_of(engine, image)
        lines += [f"{'└──' if layer is own[-1] else '├──'} {_line(layer)}" for layer in own]
    render.write("\n".join(lines) + "\n")
    return 0


def _below(layers: list[Layer], indent: str) -> list[str]:
    """The layers with all that is above each of them; what has one layer above it goes on in the same column."""
    lines = []
    for layer in layers:
        last = layer is layers[-1]
        chain = [layer]
        while len(chain[-1].above) == 1:
            chain.append(chain[-1].above[0])
        more = not last or len(chain) > 1
        for number, each in enumerate(chain):
            end = last and number == len(chain) - 1
            lines.append(f"{indent}{'└──' if end else '├──'} {_line(each)}")
        lines += _below(chain[-1].above, indent + ("│   " if more and not last else "    "))
    return lines


def _line(layer: Layer) -> str:
    tags = f" Top Layer of: [{' '.join(layer.names)}]" if layer.names else ""
    return f"ID: {layer.id[:12]} Size: {_size(layer.size):>7}{tags}"


def _size(count: int) -> str:
    return render.size(count).replace(" ", "")


def mount(values: Values, args: list[str], global_values: Values) -> int:
    """``image mount``: prints the path of each root, or a row for each image that is mounted."""
    from rootless.cli.many import FAILURES
    from rootless.cli.report import report
    from rootless.engine.containers.mount import check_namespace
    from rootless.engine.images import mounting

    form = values.get("format")
    if form not in (None, "json"):
        raise UsageError(f"unknown --format {str(form)[:40]!r}", "use --format json")
    if args and values.get("all"):
        raise UsageError("cannot name images together with --all", "leave away either --all or the images")
    check_namespace("image mount")
    engine = open_engine(global_values)
    if not (args or values.get("all")):
        return _print(mounting.mounted(engine), form)
    code, found = 0, []
    for name in [image.id for image in engine.store.images.list()] if values.get("all") else args:
        try:
            found.append(mounting.mount(engine, name))
        except FAILURES as error:
            code = report(error)
    if len(args) == 1 and form is None:
        render.write("".join(f"{path}\n" for _, path in found))
    else:
        _print(found, form)
    return code


def _print(found: list[tuple[Any, str]], form: str | None) -> int:
    if form == "json":
        rows = [{"id": image.id, "Repositories": list(image.names), "mountpoint": path} for image, path in found]
        render.write(render.json_text(rows) + "\n")
    else:
        render.write("".join(f"{image.id[:12]}  {path}\n" for image, path in found))
    return 0


def unmount(values: Values, args: list[str], global_values: Values) -> int:
    """``image unmount``: prints the ID of each."""
    from rootless.cli.many import FAILURES, choose
    from rootless.cli.report import report
    from rootless.engine.containers.mount import check_namespace
    from rootless.engine.images import mounting

    choose(args, bool(values.get("all")), "image")
    check_namespace("image unmount")
    engine = open_engine(global_values)
    code = 0
    for name in [image.id for image, _ in mounting.mounted(engine)] if values.get("all") else args:
        try:
            render.line(mounting.unmount(engine, name, force=bool(values.get("force"))).id)
        except FAILURES as error:
            code = report(error)
    return code
