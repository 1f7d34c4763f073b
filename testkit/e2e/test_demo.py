"""The README's main job: the demo checks every statement that it prints and fails if one is not true."""

import os
import subprocess


def test_the_demo_proves_what_it_says():
    binary = os.environ["CAIRN_BIN"]
    command = [binary, "devnet", "--demo", "--api-port", "0", "--s3-port", "0"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    steps = [line.split()[2] for line in done.stdout.splitlines()]
    for step in ("stored", "read", "settled", "broken", "lost", "locked", "moved", "repaired", "recovered", "verified", "refused", "money", "done"):
        assert step in steps, f"no step {step!r} in {steps}"
