"""The production layout: node, relay, operators and gateway as processes of their own, whose fate is not shared."""

import json
import os
import queue
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request

import botocore.exceptions
import pytest
from conftest import s3_client

READY_SECONDS = 90
STOP_SECONDS = 20
# The smallest number with a spare: any 2 of 4 fragments are enough, so two operators may be gone.
OPERATORS = 6


def free_port(kind=socket.SOCK_STREAM):
    with socket.socket(socket.AF_INET, kind) as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def until(what, seconds, check):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = check()
        if found:
            return found
        time.sleep(0.5)
    pytest.fail(f"{what}: not within {seconds} s")


def cairn(*words, code=0):
    """A command that ends; its JSON."""
    command = [os.environ["CAIRN_BIN"], "--json", *map(str, words)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=90)
    assert done.returncode == code, f"{words}: {done.stdout}\n{done.stderr}"
    return json.loads(done.stdout)


class Part:
    """One process of the network and what it said when it was ready."""

    def __init__(self, folder, name, *words):
        self.name = name
        self.talk = folder / f"{name}.txt"
        self.command = [os.environ["CAIRN_BIN"], "--json", *map(str, words)]
        self.process = None
        self.start()

    def start(self):
        with open(self.talk, "ab") as talk:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=talk, start_new_session=True
            )
        self.lines = queue.Queue()
        threading.Thread(target=self._read, args=(self.process.stdout, self.lines), daemon=True).start()

    @staticmethod
    def _read(pipe, lines):
        for line in pipe:
            lines.put(line)
        lines.put(None)

    def ready(self):
        """The object that it prints when it can be used."""
        try:
            line = self.lines.get(timeout=READY_SECONDS)
        except queue.Empty:
            line = None
        if line is None:
            pytest.fail(f"{self.name} was not ready; {self.talk.read_text(errors='replace')[-4000:]}")
        self.said = json.loads(line)
        return self.said

    def kill(self):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def end(self):
        self.process.send_signal(signal.SIGTERM)

    def gone(self):
        """The exit code after SIGTERM; None if it had to be killed."""
        try:
            code = self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            code = None
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        return code


class Network:
    """All parts on loopback."""

    def __init__(self, folder, epoch="8s"):
        self.folder, self.parts = folder, []
        self.made = cairn("network", "dev", folder / "net", "--epoch", epoch, "--seed", folder.name)
        self.relay_port = free_port()
        self.api = f"http://127.0.0.1:{free_port()}"
        net = folder / "net"
        self.node = self.add(
            "node", "node", "--dir", net / "node", "--genesis", net / "genesis.bin", "--seat", net / "seat.key",
            "--faucet", net / "faucet.key", "--listen", self.api.removeprefix("http://"),
            "--relay", f"http://127.0.0.1:{self.relay_port}",
        )  # fmt: skip
        self.link = self.node.ready()["join"]
        self.relay = self.add("relay", "relay", "--join", self.link, "--listen", f"127.0.0.1:{self.relay_port}")
        self.relay.ready()
        self.operators = [self.operator(n) for n in range(1, OPERATORS + 1)]
        for o in self.operators:
            o.ready()
        self.s3_port = free_port()
        self.gateway = self.add(
            "gateway", "gateway", "--join", self.link, "--dir", folder / "gw", "--s3", f"127.0.0.1:{self.s3_port}"
        )
        self.gateway.ready()

    def operator(self, n):
        name = f"op-{n}"
        return self.add(
            name, "up", "--join", self.link, "--yes", "--dir", self.folder / name, "--offer", "4GiB",
            "--listen", "127.0.0.1:0", "--site", name,
        )  # fmt: skip

    def again(self, part):
        """Starts a part a second time: what was decided the first time is in its directory."""
        if part in self.operators:
            part.command = [*part.command[:2], "up", "--dir", str(self.folder / part.name)]
        part.start()
        return part.ready()

    def add(self, name, *words):
        part = Part(self.folder, name, *words)
        self.parts.append(part)
        return part

    def s3(self):
        keys = json.loads((self.folder / "gw/keys/s3.json").read_text())
        return s3_client({"s3": keys})

    def get(self, path):
        with urllib.request.urlopen(self.api + path, timeout=30) as answer:
            return json.loads(answer.read())

    def lines(self, epoch):
        """Rows of a settled epoch; none while it is open."""
        try:
            return self.get(f"/v1/settlements/1/{epoch}")["lines"]
        except urllib.error.HTTPError as open_yet:
            open_yet.close()
            return []

    def stop(self):
        for part in self.parts:
            part.end()
        return {part.name: part.gone() for part in self.parts}


@pytest.fixture
def network(tmp_path):
    made = []

    def make(**options):
        made.append(Network(tmp_path, **options))
        return made[-1]

    # Parts that started before a failure are ended too.
    original = Network.__init__

    def remembered(self, *args, **kwargs):
        made.append(self)
        original(self, *args, **kwargs)

    Network.__init__ = remembered
    try:
        yield make
    finally:
        Network.__init__ = original
        for one in {id(m): m for m in made}.values():
            for part in one.parts:
                if part.process.poll() is None:
                    part.end()
            for part in one.parts:
                part.gone()


def check(s3, stored):
    for key, body in stored.items():
        assert s3.get_object(Bucket="box", Key=key)["Body"].read() == body, key


def store(s3, stored, life):
    for n, size in enumerate([100, 70_000, 3 << 20]):
        key, body = f"{life}/{n}", os.urandom(size)
        until(f"{key} is stored", 30, lambda: put(s3, key, body))
        stored[key] = body


def put(s3, key, body):
    """False for "repeat it a little later", which every S3 client does by itself."""
    try:
        return s3.put_object(Bucket="box", Key=key, Body=body)
    except botocore.exceptions.ClientError as error:
        assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 503, error
        return False


def test_no_part_takes_another_one_down(network):
    net = network()
    s3, stored = net.s3(), {}
    s3.create_bucket(Bucket="box")
    store(s3, stored, "all")
    until("a settled epoch", 60, lambda: net.lines(0) or net.lines(1))

    # Without a node the customer reads, and writes what escrows cover.
    epoch = net.get("/v1/status")["epoch"]
    net.node.kill()
    check(s3, stored)
    store(s3, stored, "no node")
    check(s3, stored)
    net.node.start()
    net.node.ready()

    # Without a relay those who reach each other directly go on.
    net.relay.kill()
    check(s3, stored)
    net.again(net.relay)

    # A gateway has no state of its own.
    net.gateway.kill()
    net.again(net.gateway)
    s3 = net.s3()
    check(s3, stored)
    store(s3, stored, "new gateway")

    # As many holders as the code bears; back before silence counts as a loss.
    dead = [o for o in net.operators if o.said["device"] in holders(net)][:2]
    for o in dead:
        o.kill()
    large = "new gateway/2"
    check(s3, {large: stored[large]})
    for o in dead:
        net.again(o)
    check(s3, stored)

    # The node settled what happened around its death, and everybody who holds something is paid for it.
    def all_paid():
        for done in range(epoch + 1, net.get("/v1/status")["epoch"]):
            lines = net.lines(done)
            if {line["device"] for line in lines if int(line["charged_micro_usd"]) > 0} >= holders(net):
                return True
        return False

    try:
        until("an epoch in which all holders earn", 60, all_paid)
    except BaseException:
        for done in range(net.get("/v1/status")["epoch"]):
            for line in net.lines(done):
                print(done, *(line[k] for k in ("device", "lease", "slot", "units", "note", "next", "charged_micro_usd")))
        raise
    codes = net.stop()
    assert set(codes.values()) == {0}, f"SIGTERM ends every part in order: {codes}"


def holders(net):
    return {slot["device"] for lease in leases(net) for slot in lease["slots"]}


def leases(net):
    listed = net.get(f"/v1/accounts/{net.gateway.said['account']}/leases")["leases"]
    return [net.get(f"/v1/leases/{lease}") for lease in listed]


def test_an_operator_is_looked_after_by_its_directory(network):
    net = network(epoch="4s")
    home = net.folder / "op-1"
    assert home.stat().st_mode & 0o077 == 0
    assert {f.stat().st_mode & 0o777 for f in (home / "keys").iterdir()} == {0o600}

    def healthy():
        done = subprocess.run(
            [os.environ["CAIRN_BIN"], "--json", "doctor", "--dir", str(home)], capture_output=True, text=True, timeout=60
        )
        found = json.loads(done.stdout)
        codes = {f["code"] for f in found.get("operator", [])}
        wanted = {"doctor.listed", "disk.space", "clock.right", "reach.peers", "reach.relay", "storage.space"}
        return done.returncode == 0 and wanted <= codes

    until("a healthy operator", 40, healthy)
    status = cairn("status", "--dir", home)
    assert status["running"] == net.operators[0].process.pid and status["device"]["on_the_market"]
    until("the relay", 30, lambda: cairn("status", "--dir", home)["facts"]["relay"])

    # A price is taken up while it runs.
    device = net.operators[0].said["device"]
    before = net.get(f"/v1/devices/{device}")
    assert "takes it up" in cairn("set", "price", "1600000", "--dir", home)["effect"]
    until("the new price on the chain", 30, lambda: net.get(f"/v1/devices/{device}") != before)
    assert "restart" in cairn("set", "listen", "127.0.0.1:0", "--dir", home)["effect"]
    assert cairn("set", "prise", "1", "--dir", home, code=1)["error"]["code"] == "config.unknown"

    # A stranger is not carried, and is told so.
    role = urllib.request.Request(f"{net.api}/v1/keys/{'11' * 32}")
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(role, timeout=30)
    assert refused.value.code == 404
    refused.value.close()

    # Without its process the doctor says so; leaving works from the directory alone.
    net.operators[0].kill()
    (home / "status.json").unlink()
    found = cairn("doctor", "--dir", home, code=1)["error"]["findings"]["operator"]
    assert found[0]["code"] == "doctor.down"
    assert cairn("exit", "--dir", home, "--dry-run")["announced"] is False
    assert cairn("exit", "--dir", home)["announced"] is True
