"""config-linux.md, "Masked Paths" and "Readonly Paths"."""

from __future__ import annotations

import pytest

from tests.conformance.support import Box


def test_masked_file(box: Box) -> None:
    box.linux["maskedPaths"] = ["/proc/version", "/etc/passwd"]
    out = box.sh("cat /proc/version /etc/passwd; echo nothing; stat -c %F /etc/passwd")
    assert out.startswith("nothing\n")


def test_masked_directory(box: Box) -> None:
    box.linux["maskedPaths"] = ["/usr", "/proc/sys"]
    assert box.sh("ls /usr /proc/sys | grep -v : | wc -w; ! touch /usr/x 2>/dev/null") == "0\n"


def test_masked_path_that_does_not_exist(box: Box) -> None:
    box.linux["maskedPaths"] = ["/nonsense", "/proc/nonsense"]
    assert box.output("echo", "ran") == "ran\n"


def test_masked_files_cannot_be_written(box: Box) -> None:
    box.linux["maskedPaths"] = ["/etc/passwd"]
    box.sh("echo x >/etc/passwd || true")
    assert (box.root / "etc/passwd").read_text().startswith("root")


def test_masked_link_in_the_root_file_system(box: Box) -> None:
    (box.root / "link").symlink_to("/etc/passwd")
    box.linux["maskedPaths"] = ["/link"]
    done = box.run()
    assert done.code == 0 or "link" in done.err


def test_readonly_file(box: Box) -> None:
    box.linux["readonlyPaths"] = ["/etc/passwd"]
    assert box.sh("head -c 4 /etc/passwd; ! echo x 2>/dev/null >/etc/passwd; touch /etc/other") == "root"


def test_readonly_directory(box: Box) -> None:
    (box.root / "data").mkdir()
    box.linux["readonlyPaths"] = ["/data", "/proc/sys"]
    script = "! touch /data/x 2>/dev/null && ! echo x 2>/dev/null >/proc/sys/kernel/domainname && echo readonly"
    assert box.sh(script) == "readonly\n"
    mounts = box.mounts()
    assert "ro" in mounts["/data"].options and "ro" in mounts["/proc/sys"].options


def test_readonly_keeps_the_other_flags(box: Box) -> None:
    box.mount("/data", "tmpfs", "nosuid", "nodev", "noexec")
    box.linux["readonlyPaths"] = ["/data"]
    assert {"ro", "nosuid", "nodev", "noexec"} <= box.mounts()["/data"].options


def test_readonly_path_that_does_not_exist(box: Box) -> None:
    box.linux["readonlyPaths"] = ["/nonsense", "/proc/nonsense"]
    assert box.output("echo", "ran") == "ran\n"


def test_masked_and_readonly(box: Box) -> None:
    box.linux["maskedPaths"] = ["/proc/sys/kernel"]
    box.linux["readonlyPaths"] = ["/proc/sys"]
    assert box.sh("ls /proc/sys/kernel | wc -l; ls /proc/sys | wc -l").split()[0] == "0"


@pytest.mark.parametrize("name", ["maskedPaths", "readonlyPaths"])
def test_exec_sees_the_same(box: Box, name: str) -> None:
    box.linux[name] = ["/etc/passwd"]
    box.sleep()
    script = "! (echo x >/etc/passwd) 2>/dev/null || test ! -s /etc/passwd"
    assert box.exec("sh", "-c", script).code == 0
    assert (box.root / "etc/passwd").read_text() != "x\n"
