"""The log on a file system that really is full: a small one of its own, in a mount namespace."""

import os
import shlex
import subprocess
import sys
from pathlib import Path


def test_a_full_disk_loses_nothing_and_is_overcome(tmp_path: Path) -> None:
    folder = shlex.quote(str(tmp_path))
    program = f"{shlex.quote(sys.executable)} -m tests.support.full_disk {folder}"
    script = (
        f"set -e; mount -t tmpfs -o size=5m none {folder}; {program} fill > count; {program} free < count"
    )
    namespace = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--mount"]
    script = script.replace("count", shlex.quote(str(tmp_path.parent / "count")))
    done = subprocess.run(
        [*namespace, "sh", "-c", script], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 500
