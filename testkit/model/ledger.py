"""A model of the ledger, written from docs/reference/ledger.md (its section numbers are in the comments)."""

import copy

import toy
from toy import D

M = 10**6


class Refused(Exception):
    pass


def refuse(code):
    raise Refused(code)


def ppm(x, p):
    return x * min(p, M) // M


def sub(a, b):
    return max(0, a - b)


def u(n, size):
    return n.to_bytes(size, "little")


def charge(rate, units):
    x = rate * units
    return 0 if x >= 2**128 or x // 10**12 >= 2**64 else x // 10**12


def floor_log2(x):
    return max(x, 1).bit_length() - 1


def bucket(rate):
    r, k = max(rate, 1), floor_log2(rate)
    return 2 * k + ((r >> (k - 1)) & 1 if k else 0)


class Ledger:
    def __init__(self, g):
        self.p, self.price, self.origin = g["params"], g["price"], 0
        self.seed, self.height, self.epoch = bytes.fromhex(g["network"]), 0, 0
        self.pool_rate, self.pool_limit, self.bond_rate = g["pool_rate"], g["pool_limit"], g["bond_rate"]
        self.proposer = g["proposer"]
        self.accounts = {a: {"nonce": 0, "balance": b, "credits": 0} for a, b in g["accounts"]}
        total = sum(b for _, b in g["accounts"])
        names = "balances bonds vault payable dust stakers treasury pools burned issued free escrow endowed unsettled spent"
        self.m = dict.fromkeys(names.split(), 0)
        self.m["balances"] = total
        self.supply = total
        self.operators, self.devices, self.uniques, self.lists = {}, {}, {}, {}
        self.leases, self.locks, self.paying, self.disputes, self.sales = {}, {}, {}, {}, {}
        self.epochs, self.sector_epochs, self.postings, self.claims = {}, {}, {}, {}
        self.commitments, self.latest = {}, None
        self.accused, self.due, self.backlog = {}, {}, None
        self.endowments = {}
        self.memory, self.tally = {}, {"due": {}, "charged": {}, "earned": {}, "unpaid": {}, "sales": set()}

    # ---- 2. pots
    def account(self, a):
        return self.accounts.setdefault(a, {"nonce": 0, "balance": 0, "credits": 0})

    def pay(self, src, dst, x):
        if x == 0 or src == dst:
            return
        self.move(src, -x)
        self.move(dst, x)

    def move(self, pot, x):
        kind, key = pot if isinstance(pot, tuple) else (pot, None)
        total = {"account": "balances", "bond": "bonds", "locked": "bonds", "stake": "bonds", "pool": "pools"}.get(kind, kind)
        row, field = {
            "account": lambda: (self.account(key), "balance"),
            "bond": lambda: (self.device(key), "bond"),
            "locked": lambda: (self.device(key), "locked"),
        }.get(kind, lambda: (self.m, total))()
        if row[field] + x < 0:
            refuse("bank.insufficient")
        if row is not self.m:
            row[field] += x
        if kind == "bond":
            self.operators[row["operator"]]["free_bond"] += x
        if self.m[total] + x < 0:
            refuse("bank.insufficient")
        self.m[total] += x

    def pay_credits(self, src, dst, x):
        if x == 0:
            return
        for pot, d in ((src, -x), (dst, x)):
            if isinstance(pot, tuple):
                row = self.account(pot[1])
                if row["credits"] + d < 0:
                    refuse("bank.insufficient")
                row["credits"] += d
                pot = "free"
            if self.m[pot] + d < 0:
                refuse("bank.insufficient")
            self.m[pot] += d

    def pebbles(self, c):
        return c * self.price // M

    def pebbles_ceil(self, c):
        return -(-c * self.price // M)

    def check_identities(self):
        crn = "balances bonds vault payable dust stakers treasury pools burned".split()
        assert sum(self.m[k] for k in crn) == self.supply, "CRN"
        assert sum(self.m[k] for k in "free escrow endowed unsettled spent".split()) == self.m["issued"], "credits"

    # ---- 3. blocks
    def begin(self):
        self.height += 1
        self.epoch = (self.height - 1) // self.p["epoch_blocks"]
        if (self.height - 1) % self.p["epoch_blocks"] == 0:
            self.lock_epoch()
        at, i = self.backlog or (self.height, 0)
        self.backlog, steps = None, 0
        while at <= self.height:
            work = self.due.get(at, [])
            while i < len(work) and steps < 64:
                self.work(*work[i])
                i, steps = i + 1, steps + 1
            if i < len(work) or (steps >= 64 and at < self.height):
                self.backlog = (at, i)
                return
            self.due.pop(at, None)
            at, i, steps = at + 1, 0, steps + 1

    def schedule(self, at, *entry):
        self.due.setdefault(at, []).append(entry)

    def lock_epoch(self):
        e = self.epoch
        self.epochs[e] = {"start": self.height, "seed": None}
        before = self.sector_epochs.get(e - 1)
        pledged = before["budget"] if before and before["phase"] in ("open", "committed") else 0
        row = self.sector_epochs[e] = {"phase": "open", "votes": set(), "settled": None, "applied": 0}
        row["budget"] = min(self.pool_limit, sub(self.m["pools"], pledged))
        row["snap"] = copy.deepcopy({
            "devices": self.devices, "sales": self.sales, "commitments": self.commitments.pop(e, set()),
            "leases": {k: v for k, v in sorted(self.leases.items()) if v["refunded"] is None},
        })
        self.schedule(self.height + self.p["epoch_blocks"] + self.p["vote_blocks"], "void", e)
        self.schedule(self.height + (self.p["window_epochs"] + 64) * self.p["epoch_blocks"], "prune", e)

    def work(self, kind, *x):
        getattr(self, "due_" + kind)(*x)

    def due_void(self, e):
        if self.sector_epochs[e]["phase"] in ("open", "committed"):
            self.sector_epochs[e]["phase"] = "void"
        del self.sector_epochs[e]["snap"]

    def due_prune(self, e):
        row = self.sector_epochs.get(e)
        unapplied = row and row["settled"] and row["applied"] < len(row["settled"]["outcomes"])
        if row and (row["phase"] in ("open", "committed") or unapplied or e == self.latest):
            self.schedule(self.height + self.p["epoch_blocks"], "prune", e)
        else:
            self.sector_epochs.pop(e, None)
            del self.epochs[e]

    def due_refill(self, lease, i):
        row = self.leases[lease]
        lasts = row["refunded"] is None and (row["closing"] is None or row["closing"] > self.epoch)
        if lasts and row["slots"][i]["device"] is None:
            self.reassign(lease, i)

    # ---- 4. transactions
    def run(self, tx):
        """Result code of one transaction."""
        if "who" in tx:
            return self.run_account(tx)
        before = copy.deepcopy(self.__dict__)
        try:
            if "device" in tx:
                self.device(tx["device"])
            (kind, x), = tx["do"].items()
            getattr(self, ("post_" if "device" in tx else "seat_") + kind)(tx.get("device"), **x)
            return "ok"
        except Refused as r:
            self.__dict__ = before
            return str(r)

    def run_account(self, tx):
        row, who = self.account(tx["who"]), tx["who"]
        fee = self.p["base_fee"] + self.p["byte_fee"] * tx["bytes"]
        if tx["nonce"] != row["nonce"]:
            return "tx.nonce"
        if tx["valid_until"] < self.height:
            return "tx.expired"
        if row["balance"] < fee + tx["tip"]:
            return "tx.fee"
        self.pay(("account", who), "burned", fee)
        self.pay(("account", who), ("account", self.proposer), tx["tip"])
        row["nonce"] += 1
        before = copy.deepcopy(self.__dict__)
        try:
            (kind, x), = tx["do"].items()
            self.nonce = tx["nonce"]
            getattr(self, "act_" + kind)(who, **x)
            return "ok"
        except Refused as r:
            self.__dict__ = before
            return str(r)

    def act_transfer(self, who, to, amount):
        if amount == 0:
            refuse("transfer.zero")
        self.pay(("account", who), ("account", to), amount)

    def act_credits(self, who, account, credits, max_cost):
        cost = self.pebbles_ceil(credits)
        if cost > max_cost:
            refuse("credits.price")
        self.pay(("account", who), "vault", cost)
        self.m["issued"] += credits
        self.m["free"] += credits
        self.account(account)["credits"] += credits

    def act_operator(self, who, length):
        if length > 256:
            refuse("operator.info")
        self.operators.setdefault(who, {"devices": 0, "free_bond": 0, "held": 0})

    def act_register(self, who, offer, bond, agreed):
        op = self.operators.get(who) or refuse("operator.unknown")
        if not agreed:
            refuse("device.agreement")
        a = toy.admit(offer, refuse)
        if bond < self.pebbles_ceil(a["bond"]):
            refuse("device.bond")
        device = D("cairn/device", bytes.fromhex(who), u(op["devices"], 8)).hex()
        if any(k in self.uniques for k in a["unique"]):
            refuse("device.duplicate")
        self.uniques.update(dict.fromkeys(a["unique"], device))
        op["devices"] += 1
        self.devices[device] = {
            "operator": who, "offer": offer, "admission": a, "reserved": 0, "duties": 0, "state": "active", "until": 0,
            "bond": 0, "locked": 0, "listed": None, "absent": False, "deficit": 200_000, "since": self.epoch,
            "weight": M, "weighed": 0,
        }
        self.pay(("account", who), ("bond", device), bond)
        self.place(device)

    def device(self, d):
        return self.devices.get(d) or refuse("device.unknown")

    def own(self, who, d):
        return self.device(d) if self.device(d)["operator"] == who else refuse("device.foreign")

    def act_change(self, who, device, offer, rest):
        row = self.own(who, device)
        self.unlist(device)
        if row["state"] == "exiting":
            refuse("device.exiting")
        if offer is not None:
            a = toy.admit(offer, refuse)
            if row["reserved"] > a["capacity"]:
                refuse("device.capacity")
            for k in row["admission"]["unique"]:
                if k not in a["unique"]:
                    del self.uniques[k]
            for k in a["unique"]:
                if self.uniques.setdefault(k, device) != device:
                    refuse("device.duplicate")
            row["admission"], row["offer"] = a, offer
        if rest is not None:
            row["state"] = "resting" if rest else "active"
        self.place(device)

    def act_add_bond(self, who, device, amount):
        self.device(device)
        self.pay(("account", who), ("bond", device), amount)
        self.place(device)

    def act_exit(self, who, device):
        row = self.own(who, device)
        self.unlist(device)
        if row["state"] != "exiting":
            row["state"], row["until"] = "exiting", self.epoch + self.p["exit_epochs"]

    def act_withdraw(self, who, device):
        row = self.own(who, device)
        if row["state"] != "exiting":
            refuse("device.active")
        if self.epoch < row["until"] + self.p["window_epochs"] + 1 or row["duties"] or row["locked"]:
            refuse("device.held")
        self.pay(("bond", device), ("account", who), row["bond"])
        for k in row["admission"]["unique"]:
            del self.uniques[k]
        del self.devices[device]

    def act_buy(self, who, price, max_credits):
        if price > max_credits:
            refuse("sale.price")
        self.pay_credits(("account", who), "unsettled", price)
        key = D("cairn/sale", bytes.fromhex(who), u(self.nonce, 8)).hex()
        self.sales[key] = {"price": price, "buyer": who, "epoch": self.epoch + 1}

    def act_fund_pool(self, who, amount):
        self.pay(("account", who), "pool", amount)

    # ---- 5. market
    def place(self, d):
        """Lists a device where it belongs, or takes it off."""
        row = self.device(d)
        a = row["admission"]
        free, want = a["capacity"] - row["reserved"], None
        if row["state"] == "active" and not row["absent"] and row["bond"] >= self.pebbles_ceil(a["bond"]) and free > 0:
            want = (bucket(a["list_rate"] * row["weight"] // M), floor_log2(free))
        if row["listed"] == want:
            return
        self.unlist(d)
        row["listed"] = want
        if want:
            for region in {a["region"], 0}:
                self.lists.setdefault((region, *want), []).append(d)

    def set_absent(self, d, absent):
        self.device(d)["absent"] = absent
        self.place(d)

    def unlist(self, d):
        row = self.device(d)
        if row["listed"] is None:
            return
        for region in {row["admission"]["region"], 0}:
            members = self.lists[(region, *row["listed"])]
            i, last = members.index(d), members.pop()
            if last != d:
                members[i] = last
        row["listed"] = None

    def reputation(self, row):
        halvings = (self.epoch - row["since"]) // self.p["reputation_half_life"]
        return sub(M, row["deficit"] >> halvings)

    def lose(self, row, p):
        rep = self.reputation(row)
        row["deficit"], row["since"] = M - (rep - rep * p // M), self.epoch

    def draw(self, label, *parts):
        return D("cairn/draw/v1", self.seed, label.encode(), *parts)

    def candidates(self, dem, label, exclude, taken, enough):
        limit, used, useful, looked, misfits, found = 4 * dem["max_per_domain"], {}, 0, 0, 0, []
        for d in taken:
            used[d] = used.get(d, 0) + 4
        edge = floor_log2(dem["reserve"])
        for b in sorted({b for (region, b, _), members in self.lists.items() if region == dem["region"] and members}):
            if useful >= enough or b > bucket(dem["max_rate"]) + 6:
                break
            # Who has room for certain, then those of whom only some have.
            rooms = sorted(r for (g, c, r), m in self.lists.items() if (g, c) == (dem["region"], b) and m and r >= edge)
            if 2**edge < dem["reserve"] and rooms[:1] == [edge]:
                rooms = rooms[1:] + rooms[:1]
            for room in rooms:
                members = self.lists[(dem["region"], b, room)]
                n = len(members)
                start = int.from_bytes(self.draw("market/start", label, bytes([b, room]))[:16], "little") % n
                for i in range(n):
                    if looked >= self.p["scan_limit"]:
                        return found
                    if 2**room < dem["reserve"] and misfits >= self.p["scan_limit"] // 4:
                        break
                    looked += 1
                    d = members[(start + i) % n]
                    row = self.devices[d]
                    a = row["admission"]
                    if d in exclude:
                        continue
                    if row["reserved"] + dem["reserve"] > a["capacity"]:
                        misfits += 1
                        continue
                    if a["list_rate"] > dem["max_rate"]:
                        continue
                    if limit == 0 or all(used.get(x, 0) < limit for x in a["domains"]):
                        useful += 1
                        for x in a["domains"]:
                            used[x] = used.get(x, 0) + 1
                    cost = a["list_rate"] * (2 * M - self.reputation(row)) * row["weight"]
                    found.append((cost, self.draw("market/tie", label, bytes.fromhex(d)), d))
        return found

    def choose(self, found, n, most, taken):
        used, chosen = {}, []
        for d in taken:
            used[d] = used.get(d, 0) + 1
        for _, _, d in sorted(found):
            domains = self.devices[d]["admission"]["domains"]
            if len(chosen) == n:
                break
            if most and any(used.get(x, 0) >= most for x in domains):
                continue
            for x in domains:
                used[x] = used.get(x, 0) + 1
            chosen.append(d)
        return chosen

    # ---- 6. leases
    def act_order(self, who, order, escrow):
        dem = toy.demand(order)
        if not 1 <= dem["slots"] <= 64 or dem["helpers"] > 8:
            refuse("order.slots")
        if escrow < dem["min_escrow"]:
            refuse("order.escrow")
        label = D("cairn/lease", bytes.fromhex(who), u(self.nonce, 8))
        found = self.candidates(dem, label, [], [], 4 * dem["slots"] + dem["helpers"])
        chosen = self.choose(found, dem["slots"], dem["max_per_domain"], [])
        if len(chosen) < dem["slots"]:
            refuse("market.short")
        lot = lambda d: self.draw("market/helper", label, bytes.fromhex(d))
        idle = sorted((d for _, _, d in found if d not in chosen), key=lot)
        slots = [{"device": d, "rate": self.devices[d]["admission"]["rate"], "since": self.epoch, "lost_by": None,
                  "generation": 0} for d in chosen]
        self.pay_credits(("account", who), "escrow", escrow)
        self.leases[label.hex()] = {
            "customer": who, "slots": slots, "reserve": dem["reserve"], "demand": dem, "deposited": escrow, "fence": 0,
            "helpers": (idle + sorted(chosen, key=lot))[:dem["helpers"]], "refunded": None,
            "closing": self.epoch + dem["epochs"] if dem["epochs"] else None,
        }
        for d in chosen:
            self.take(d, dem["reserve"])

    def take(self, d, reserve):
        self.devices[d]["reserved"] += reserve
        self.devices[d]["duties"] += 1
        self.place(d)

    def give_up(self, d, reserve):
        row = self.devices[d]
        row["reserved"] -= reserve
        row["duties"] -= 1
        if row["state"] == "exiting":
            row["until"] = max(row["until"], self.epoch)
        self.place(d)

    def own_lease(self, who, lease):
        row = self.leases.get(lease) or refuse("lease.unknown")
        return row if row["customer"] == who else refuse("lease.foreign")

    def act_fund(self, who, lease, credits):
        row = self.leases.get(lease) or refuse("lease.unknown")
        if row["refunded"] is not None:
            refuse("lease.ended")
        self.pay_credits(("account", who), "escrow", credits)
        row["deposited"] += credits

    def act_endow(self, who, lease, credits):
        row = self.leases.get(lease) or refuse("lease.unknown")
        if row["refunded"] is not None or row["closing"] is not None:
            refuse("endow.closing")
        if credits == 0:
            refuse("endow.zero")
        self.pay_credits(("account", who), "endowed", credits)
        fresh = lease not in self.endowments
        gift = self.endowments.setdefault(lease, [0, 0])
        gift[0] += credits
        gift[1] += credits
        if fresh:
            self.due_endowment(lease)

    def due_endowment(self, lease):
        row, gift = self.leases[lease], self.endowments.get(lease)
        if gift is None or row["refunded"] is not None or row["closing"] is not None:
            return
        most = sum(charge(s["rate"], row["reserve"]) for s in row["slots"]) * self.p["unpaid_epochs"]
        paid = min(gift[0], most)
        self.pay_credits("endowed", "escrow", paid)
        row["deposited"] += paid
        gift[0] -= paid
        if gift[0] == 0:
            del self.endowments[lease]
        else:
            self.schedule(self.height + self.p["unpaid_epochs"] * self.p["epoch_blocks"], "endowment", lease)

    def act_close(self, who, lease):
        row = self.own_lease(who, lease)
        if row["closing"] is not None and row["closing"] <= self.epoch:
            refuse("lease.closing")
        if lease in self.endowments:
            refuse("lease.endowed")
        row["closing"] = self.epoch

    def act_fence(self, who, lease, fence):
        row = self.own_lease(who, lease)
        if fence <= row["fence"]:
            refuse("lease.fence")
        row["fence"] = fence

    def act_legal(self, who, lease, slot):
        row = self.leases.get(lease) or refuse("lease.unknown")
        device = row["slots"][slot]["device"] if slot < len(row["slots"]) else None
        self.own(who, device)
        if row["refunded"] is not None:
            refuse("lease.ended")
        self.lose_slot(device, self.epoch, self.pebbles(charge(self.bond_rate, row["reserve"])))
        self.reassign(lease, slot)

    def reassign(self, lease, i):
        row = self.leases[lease]
        if row["refunded"] is not None:
            return
        old, dem = row["slots"][i], row["demand"]
        others = [s["device"] for j, s in enumerate(row["slots"]) if j != i and s["device"] is not None]
        taken = [x for d in others for x in self.devices[d]["admission"]["domains"]]
        ending = row["closing"] is not None and row["closing"] <= self.epoch
        label = bytes.fromhex(lease) + u(i, 2) + u(old["generation"], 4)
        holders = [s["device"] for s in row["slots"]]
        new = None
        # Helpers only when nobody else can: a rebuild needs two of them beside the new holder.
        for exclude in ([] if ending else [holders + row["helpers"], holders]):
            found = self.candidates(dem, label, exclude, taken, 16)
            new = (self.choose(found, 1, dem["max_per_domain"], taken) or [None])[0]
            if new is not None:
                break
        lost_by = old["lost_by"] if old["device"] is None else old["device"]
        row["slots"][i] = dict(old, device=new, lost_by=lost_by)
        if old["device"] is not None:
            self.give_up(old["device"], row["reserve"])
        if new is not None:
            rate = self.devices[new]["admission"]["rate"]
            row["slots"][i].update(rate=rate, since=self.epoch + 1, generation=old["generation"] + 1)
            self.take(new, row["reserve"])
        elif not ending:
            self.schedule(self.height + self.p["epoch_blocks"], "refill", lease, i)

    # ---- 7. evidence
    def within(self, e, low, high):
        start = (self.epochs.get(e) or refuse("epoch.unknown"))["start"]
        if not start + low <= self.height <= start + high:
            refuse("epoch.phase")

    def posted(self, device, e, kind):
        row = self.postings.setdefault((e, device), {})
        if kind in row:
            refuse("posting.twice")
        row[kind] = True
        return row

    def post_commit(self, device, epoch):
        if epoch != self.epoch + 1:
            refuse("commit.phase")
        self.posted(device, epoch, "commit")
        self.commitments.setdefault(epoch, set()).add(device)
        self.set_absent(device, False)

    def post_answers(self, device, epoch):
        self.within(epoch, 0, self.p["answer_blocks"])
        self.posted(device, epoch, "answers")

    def post_bundle(self, device, epoch, size):
        self.within(epoch + 1, 0, self.p["cut_blocks"])
        if size > 256 * 2**20:
            refuse("bundle.size")
        self.posted(device, epoch, "bundle")

    def seat_seed(self, _, epoch, signature):
        if epoch != self.epoch or self.epochs[epoch]["seed"] is not None:
            refuse("seed.late")
        self.seed = self.epochs[epoch]["seed"] = D("cairn/seed", bytes.fromhex(signature))

    def seat_certificate(self, _, epoch, devices):
        self.within(epoch + 1, 0, self.p["certify_blocks"])
        if len(devices) > 256 or devices != sorted(set(devices)):
            refuse("certificate.shape")
        if self.sector_epochs.get(epoch, {"phase": None})["phase"] not in ("open", "committed"):
            refuse("certificate.nothing")
        rows = [self.postings.get((epoch, d), {}) for d in devices if d in self.devices]
        new = [r for r in rows if "bundle" in r and "certified" not in r]
        for r in new:
            r["certified"] = True
        if not new:
            refuse("certificate.nothing")

    def known(self, epoch):
        return self.sector_epochs.get(epoch) or refuse("settlement.unknown")

    def seat_vote(self, _, epoch):
        row = self.known(epoch)
        self.within(epoch + 1, self.p["certify_blocks"], self.p["vote_blocks"])
        if row["phase"] not in ("open", "committed") or row["votes"]:
            refuse("settlement.voted")
        row["votes"].add(0)
        row["phase"] = "committed"

    def seat_reveal(self, _, epoch):
        row = self.known(epoch)
        self.within(epoch + 1, self.p["certify_blocks"], self.p["vote_blocks"])
        if row["phase"] != "committed":
            refuse("settlement.vote")
        x = self.pending
        paid = x["charged"] + x["sales"]
        total = self.pebbles(paid)
        parts = {k: ppm(total, self.p[k + "_ppm"]) for k in ("burn", "stakers", "treasury")}
        rest = total - sum(parts.values())
        if x["earned"] > rest or x["pool_paid"] > row["budget"]:
            refuse("settlement.money")
        self.pay_credits("escrow", "spent", x["charged"])
        self.pay_credits("unsettled", "spent", x["sales"])
        for pot, part in (("burned", parts["burn"]), ("stakers", parts["stakers"]), ("treasury", parts["treasury"])):
            self.pay("vault", pot, part)
        self.pay("vault", "payable", x["earned"])
        self.pay("vault", "dust", rest - x["earned"])
        self.pay("pool", "payable", x["pool_paid"])
        row["phase"], row["settled"], self.latest = "final", x, epoch
        self.memory.update(x.pop("memory"))
        self.tally = x.pop("tally")

    def seat_outcomes(self, _, epoch, first, count):
        row = self.known(epoch)
        x = row["settled"] or refuse("settlement.open")
        if first != row["applied"] or first % 16 or not 0 < count <= 16 or first + count > len(x["outcomes"]):
            refuse("settlement.order")
        row["applied"] += count
        for o in x["outcomes"][first:first + count]:
            self.outcome(epoch, *o)

    # ---- 8. settlement
    def settle(self, epoch, evidence):
        """What the seats would sign; kept as pending until the reveal."""
        row = self.sector_epochs[epoch]
        snap, tally = row["snap"], copy.deepcopy(self.tally)
        rows, memory, looks = toy.judge(snap, self.memory, epoch, self.p["epoch_seconds"], evidence)
        operator_credits, operator_pool, faults, outcomes = {}, {}, {}, set()
        dues, pool, pays = {}, [], {}
        for payee, duty, units, source, fault, nxt in rows:
            if payee not in snap["devices"]:
                continue
            op = snap["devices"][payee]["operator"]
            if source == "escrow":
                lease = snap["leases"][duty[0]]
                slot = lease["slots"][duty[1]]
                if not (lease["closing"] is not None and lease["closing"] < epoch) and slot["device"] == payee:
                    key = (duty[0], duty[1], payee)
                    t = tally["due"].get(key)
                    if t is None or t["generation"] != slot["generation"]:
                        t = {"units": 0, "charged": 0, "generation": slot["generation"]}
                    t["units"] += units
                    tally["due"][key] = t
                    dues.setdefault(duty[0], []).append((op, t, sub(charge(slot["rate"], t["units"]), t["charged"])))
            elif source[0] == "bond":
                pays[source[1], payee] = pays.get((source[1], payee), 0) + self.pebbles(charge(self.bond_rate, units))
            else:
                pool.append((op, self.pebbles(charge(self.pool_rate, units))))
            if fault and fault[0] > faults.get(payee, (0, 0))[0]:
                faults[payee] = fault
            if nxt == "done":
                outcomes.add((3, duty[0]))
            elif nxt == "move":
                outcomes.add((2, duty[0], duty[1], payee))
            elif nxt:
                cost = ppm(self.pebbles(charge(self.bond_rate, snap["leases"][duty[0]]["reserve"])), nxt[1])
                outcomes.add((1, duty[0], duty[1], payee, cost))
        for lease, snapped in snap["leases"].items():
            if snapped["closing"] is not None and snapped["closing"] < epoch:
                outcomes.add((8, lease, tally["charged"].get(lease, 0)))
        charged = 0
        for lease, parts in dues.items():
            before = tally["charged"].get(lease, 0)
            left, total = sub(snap["leases"][lease]["deposited"], before), sum(d for _, _, d in parts)
            if total <= left:
                tally["unpaid"].pop(lease, None)
            elif epoch >= tally["unpaid"].setdefault(lease, epoch) + self.p["unpaid_epochs"]:
                outcomes.add((7, lease, snap["leases"][lease]["deposited"]))
            for op, t, d in parts:
                paid = d if total <= left else d * left // total
                t["charged"] += paid
                before, charged = before + paid, charged + paid
                operator_credits[op] = operator_credits.get(op, 0) + paid
            tally["charged"][lease] = before
        total = sum(w for _, w in pool)
        for op, w in pool:
            paid = w if total <= row["budget"] else w * row["budget"] // total
            operator_pool[op] = operator_pool.get(op, 0) + paid
        sales = 0
        shares = toy.attribute(snap, self.memory)
        weights = sum(w for _, w in shares)
        for sale, x in snap["sales"].items():
            price = x["price"]
            if not weights and sale not in tally["sales"] and epoch >= x["epoch"] + self.p["window_epochs"]:
                tally["sales"].add(sale)
                outcomes.add((6, sale))
            elif weights and sale not in tally["sales"]:
                for d, w in shares:
                    op = snap["devices"][d]["operator"]
                    operator_credits[op] = operator_credits.get(op, 0) + price * w // weights
                tally["sales"].add(sale)
                sales += price
                outcomes.add((5, sale))
        outcomes |= {(4, of, to, amount) for (of, to), amount in pays.items()}
        outcomes |= {(9, d, max(M, min(w, 8 * M))) for d, w in looks.items() if d in snap["devices"]}
        outcomes |= {(0, d, code, severity) for d, (severity, code) in faults.items()}
        share = M - self.p["burn_ppm"] - self.p["stakers_ppm"] - self.p["treasury_ppm"]
        gains = {op: ppm(c * self.price // M, share) for op, c in operator_credits.items()}
        for source in (gains, operator_pool):
            for op, x in source.items():
                tally["earned"][op] = tally["earned"].get(op, 0) + x
        charges = {lease: tally["charged"].get(lease, 0) for lease in snap["leases"]}
        tally["charged"] = dict(charges)
        tally["due"] = {k: v for k, v in tally["due"].items() if k[0] in snap["leases"]}
        tally["unpaid"] = {k: v for k, v in tally["unpaid"].items() if k in snap["leases"]}
        tally["sales"] &= set(snap["sales"])
        self.pending = {
            "charged": charged, "sales": sales, "earned": sum(gains.values()), "pool_paid": sum(operator_pool.values()),
            "claims": sorted(map(list, tally["earned"].items())), "charges": sorted(map(list, charges.items())),
            "outcomes": sorted(outcomes), "memory": memory, "tally": tally,
        }
        names = "charged sales earned pool_paid claims charges".split()
        return dict({k: self.pending[k] for k in names}, outcomes=[list(o) for o in self.pending["outcomes"]])

    def holds(self, lease, slot, device):
        row = self.leases.get(lease)
        return row and row["refunded"] is None and row["slots"][slot]["device"] == device

    def outcome(self, epoch, kind, *x):
        if kind == 0:
            device, code, severity = x
            if device in self.devices:
                self.lock(device, epoch, ppm(self.devices[device]["bond"], severity), code, None)
                self.punish(device, 500_000)
        elif kind == 1:
            lease, slot, device, cost = x
            if self.holds(lease, slot, device):
                self.lose_slot(device, epoch, cost)
                self.set_absent(device, True)
                self.reassign(lease, slot)
        elif kind == 2:
            if self.holds(*x):
                self.set_absent(x[2], True)
                self.reassign(x[0], x[1])
        elif kind == 3:
            self.finish(self.leases[x[0]])
        elif kind == 4:
            self.repair(*x)
        elif kind == 5:
            self.sales.pop(x[0], None)
        elif kind == 6:
            sale = self.sales.pop(x[0])
            self.pay_credits("unsettled", ("account", sale["buyer"]), sale["price"])
        elif kind == 7:
            row = self.leases[x[0]]
            if row["deposited"] == x[1] and x[0] not in self.endowments:
                self.finish(row)
        elif kind == 8:
            row = self.leases[x[0]]
            if row["refunded"] is None and row["closing"] is not None and row["closing"] < epoch:
                self.give_back(x[0], row, x[1])
        elif kind == 9:
            row = self.devices.get(x[0])
            if row and row["weighed"] <= epoch:
                row["weight"], row["weighed"] = x[1], epoch
                self.place(x[0])

    def lose_slot(self, device, epoch, cost):
        self.lock(device, epoch, min(cost, self.devices[device]["bond"]), None, None)
        self.punish(device, 100_000)

    def finish(self, row):
        if row["refunded"] is None:
            self.release_slots(row)
            for s in row["slots"]:
                s["device"] = None
            row["closing"] = self.epoch if row["closing"] is None else min(row["closing"], self.epoch)

    def give_back(self, lease, row, charged):
        credits = sub(row["deposited"], charged)
        self.release_slots(row)
        row["refunded"] = credits
        self.pay_credits("escrow", ("account", row["customer"]), credits)
        self.pay_credits("endowed", ("account", row["customer"]), self.endowments.pop(lease, [0])[0])

    def release_slots(self, row):
        for s in row["slots"]:
            if s["device"] is not None:
                self.give_up(s["device"], row["reserve"])

    def punish(self, device, p):
        self.lose(self.devices[device], p)

    def final(self, epoch):
        return self.known(epoch)["settled"] or refuse("settlement.open")

    def post_claim(self, device, operator, epoch, earned, index):
        self.final(epoch)
        drawn, matured = self.claims.get(operator, (0, 0))
        matures = epoch + self.p["window_epochs"] < self.epoch and earned > matured
        if earned <= drawn and not matures:
            refuse("claim.nothing")
        if self.devices[device]["operator"] != operator:
            refuse("claim.foreign")
        self.act_claim(None, operator, epoch, earned, index)

    def act_claim(self, _, operator, epoch, earned, index):
        leaves = self.final(epoch)["claims"]
        if index >= len(leaves) or leaves[index] != [operator, earned]:
            refuse("claim.proof")
        before = drawn, matured = self.claims.get(operator, (0, 0))
        if epoch + self.p["window_epochs"] < self.epoch:
            matured = max(matured, earned)
        op = self.operators[operator]
        elsewhere = op["held"] - sub(*before)
        amount = sub(min(matured + sub(op["free_bond"], elsewhere), earned), drawn)
        if before == (drawn + amount, matured):
            refuse("claim.nothing")
        self.claims[operator] = (drawn + amount, matured)
        op["held"] = elsewhere + sub(drawn + amount, matured)
        self.pay("payable", ("account", operator), amount)

    def act_refund(self, who, lease, epoch, charged, index):
        row = self.own_lease(who, lease)
        if row["closing"] is None or epoch < row["closing"] or row["refunded"] is not None:
            refuse("refund.early")
        leaves = self.final(epoch)["charges"]
        if index >= len(leaves) or leaves[index] != [lease, charged]:
            refuse("refund.proof")
        self.give_back(lease, row, charged)

    # ---- 9. locks
    def lock(self, device, epoch, amount, code, finder):
        if amount == 0:
            return
        key = (device, epoch, code, finder)
        self.pay(("bond", device), ("locked", device), amount)
        if key not in self.locks:
            self.locks[key] = {"amount": 0, "left": 0}
            self.schedule(self.height + self.p["window_epochs"] * self.p["epoch_blocks"], "release", key)
        self.locks[key]["amount"] += amount
        self.locks[key]["left"] += amount
        line = self.paying.setdefault(device, ([], []))[0 if code is None else 1]
        if key not in line and len(line) < 64:
            line.append(key)
        self.place(device)

    def due_release(self, key):
        left, (device, _, code, finder) = self.locks.pop(key)["left"], key
        src = ("locked", device)
        if code is None:
            if device in self.devices:
                self.pay(src, ("bond", device), left)
                self.place(device)
        else:
            found = ppm(left, 100_000) if finder else 0
            treasury = ppm(left, 400_000)
            if finder:
                self.pay(src, ("account", finder), found)
            self.pay(src, "treasury", treasury)
            self.pay(src, "burned", left - treasury - found)
        for line in self.paying.get(device, ()):
            if key in line:
                line.remove(key)

    def repair(self, of, to, amount):
        due = amount if to in self.devices else 0
        for line in self.paying.get(of, ()):
            while line and due:
                lock = self.locks[line[0]]
                part = min(due, lock["left"])
                lock["left"], due = lock["left"] - part, due - part
                if lock["left"] == 0:
                    line.pop(0)
        if to in self.devices:
            self.pay(("locked", of), ("account", self.devices[to]["operator"]), amount - due)

    # ---- 10. disputes
    def act_dispute(self, who, device, lease, claim):
        self.device(device)
        if toy.dispute(claim, None, refuse) is None:
            refuse("dispute.void")
        stake = self.pebbles_ceil(self.p["dispute_bond"])
        key = D("cairn/dispute", bytes.fromhex(device), bytes.fromhex(lease or ""), bytes([claim])).hex()
        if key in self.disputes:
            refuse("dispute.open")
        self.pay(("account", who), "stake", stake)
        until = self.height + self.p["dispute_blocks"]
        self.disputes[key] = {
            "accuser": who, "device": device, "lease": lease, "claim": claim, "stake": stake, "until": until,
        }
        self.schedule(until + 1, "judge", key)

    def post_defend(self, device, dispute, answer):
        row = self.disputes.get(dispute) or refuse("dispute.unknown")
        if row["device"] != device or self.height > row["until"]:
            refuse("dispute.unknown")
        if toy.dispute(row["claim"], answer, refuse) is not None:
            refuse("dispute.answer")
        self.pay("stake", "burned", row["stake"])
        del self.disputes[dispute]

    def due_judge(self, key):
        if key not in self.disputes or self.height <= self.disputes[key]["until"]:
            return
        row = self.disputes.pop(key)
        self.pay("stake", ("account", row["accuser"]), row["stake"])
        if row["device"] in self.devices:
            severity, code = toy.dispute(row["claim"], None, refuse)
            device, duty = row["device"], (row["device"], row["lease"])
            bond, had = self.devices[device]["bond"], self.accused.get(duty, 0)
            more = min(bond, sub(ppm(bond + had, severity), had))
            self.lock(device, self.epoch, more, code, row["accuser"])
            if duty not in self.accused:
                self.schedule(self.height + self.p["window_epochs"] * self.p["epoch_blocks"], "forget", duty)
                self.punish(device, 500_000)
            self.accused[duty] = had + more

    def due_forget(self, duty):
        del self.accused[duty]

    # ---- what is compared after each block
    def dump(self):
        slot = lambda s: [s["device"], s["rate"], s["since"], s["lost_by"], s["generation"]]
        return {
            "totals": self.m,
            "accounts": {k: [v["nonce"], v["balance"], v["credits"]] for k, v in self.accounts.items() if any(v.values())},
            "operators": {k: [v["devices"], v["free_bond"], v["held"]] for k, v in self.operators.items()},
            "devices": {
                k: [v["state"], v["until"] if v["state"] == "exiting" else 0, v["bond"], v["locked"], v["reserved"],
                    v["duties"], v["deficit"], v["since"], v["weight"], v["weighed"], v["listed"]] for k, v in self.devices.items()
            },
            "leases": {
                k: [[slot(s) for s in v["slots"]], v["helpers"], v["deposited"], v["closing"], v["refunded"], v["fence"]]
                for k, v in self.leases.items()
            },
            "endowments": self.endowments,
            "locks": sorted(
                [k[0], k[1], -1 if k[2] is None else k[2], k[3] or "", v["amount"], v["left"]] for k, v in self.locks.items()
            ),
            "claims": {k: list(v) for k, v in self.claims.items()},
            "disputes": sorted(self.disputes),
            "epochs": {str(e): [r["phase"], r["applied"]] for e, r in self.sector_epochs.items()},
            "known": sorted(self.epochs),
            "accused": {d + (lease or ""): x for (d, lease), x in self.accused.items()},
            "sales": {k: v["price"] for k, v in self.sales.items()},
        }
