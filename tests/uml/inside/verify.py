"""Is all that the store lists whole? ``python -m tests.uml.inside.verify``, in the machine, after a power cut.

Prints what it found; exit code 1 if anything is damaged. Half-done work that nothing lists is no damage, but has to be
found and removed by ``system check --repair``.
"""

from __future__ import annotations

import sys

from tests.uml.inside.session import Session

SUMS = "/data/SUMS"  # of the files of the image that :func:`large_layout` makes


def main() -> int:
    """Check the store, then use each image and each container that is listed."""
    session = Session()
    checked = session.run("system", "check", timeout=100)
    print(checked.stdout + checked.stderr, end="")
    problems = [line for line in checked.stdout.splitlines() if not line.startswith("leftover ")]
    failed = bool(problems)
    if checked.returncode:
        session.ok("system", "check", "--repair", timeout=100)
        session.ok("system", "check", timeout=100)
    listed = session.ok("images", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}").splitlines()
    for line in listed:
        name, _, identity = line.partition(" ")
        done = session.run("run", "--rm", "--network", "none", identity, "md5sum", "-c", "-s", SUMS, timeout=100)
        if done.returncode:
            print(f"image {name} is damaged ({done.returncode}): {done.stdout}{done.stderr}")
            failed = True
    containers = session.ok("ps", "--all", "--quiet", "--no-trunc").split()
    for identity in containers:
        for command in (("inspect", identity), ("rm", "--force", identity)):
            done = session.run(*command, timeout=100)
            if done.returncode:
                print(f"{' '.join(command)} exits {done.returncode}: {done.stderr}")
                failed = True
    print(f"{len(listed)} images and {len(containers)} containers listed")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
