"""The toy sector of the ledger's tests: a committed device that says it worked is paid for its reserve."""

from hashlib import sha256


def D(domain, *parts):
    h = sha256()
    for p in (domain.encode(), *parts):
        h.update(len(p).to_bytes(8, "little") + p)
    return h.digest()


def admit(o, refuse):
    if o["capacity"] == 0:
        refuse("toy.empty")
    le = lambda n: n.to_bytes(8, "little")
    return {
        "capacity": o["capacity"], "rate": o["rate"], "list_rate": o["rate"], "bond": o["bond"],
        "unique": [D("unique", le(o["unique"])).hex()] if o["unique"] else [],
        "domains": [D("domain", le(o["domain"])).hex()], "region": o["domain"] % 3,
    }


def demand(w):
    return dict(w, min_escrow=1)


def dispute(claim, answer, refuse):
    """None: dismissed; else (severity, code)."""
    if claim == 0:
        refuse("toy.claim")
    return None if answer == claim else (200_000, 9)


def judge(snap, memory, epoch, seconds, evidence):
    """Rows: (payee, duty, units, source, fault, next); changes of memory; price weights by device."""
    rows, changes, weights = [], {}, {}
    worked = {d for d, e in evidence if e[0] == "worked"}
    lost = {d for d, e in evidence if e[0] == "lost"}
    moves = {d for d, e in evidence if e[0] == "moves"}
    relayed = {}
    for d, e in evidence:
        if e[0] == "relayed":
            relayed[d] = relayed.get(d, 0) + e[1]
        if e[0] == "weighs":
            weights[d] = min(e[1], weights.get(d, e[1]))
        if e[0] == "cheated":
            rows.append((d, None, 0, "pool", (e[1], 1), None))
        if e[0] == "rebuilt":
            rows.append((d, None, e[2], ("bond", e[1]), None, None))
    for lid, lease in snap["leases"].items():
        over = lease["closing"] is not None and lease["closing"] < epoch
        for i, slot in enumerate(lease["slots"]):
            if slot["device"] is None or slot["since"] > epoch:
                continue
            dev = slot["device"]
            paid = dev in snap["devices"] and dev in snap["commitments"] and dev in worked and not over
            units = lease["reserve"] * seconds if paid else 0
            nxt = "done" if over else ("repair", 1_000_000) if dev in lost else "move" if dev in moves else None
            rows.append((dev, (lid, i), units, "escrow", None, nxt))
    for d, units in relayed.items():
        changes[d] = memory.get(d, 0) + units
        rows.append((d, None, units, "pool", None, None))
    return rows, changes, weights


def attribute(snap, memory):
    return [(d, memory[d]) for d in sorted(snap["devices"]) if d in memory]
