"""Replays a recorded sequence in the model; exit 1 with the first difference."""

import json
import sys

from ledger import Ledger


def differ(path, model, ledger):
    """First place where two values differ, or None."""
    if isinstance(model, dict) and isinstance(ledger, dict):
        for k in sorted(set(model) | set(ledger)):
            if k not in model or k not in ledger:
                return f"{path}.{k}: model {model.get(k, 'has none')}, ledger {ledger.get(k, 'has none')}"
            found = differ(f"{path}.{k}", model[k], ledger[k])
            if found:
                return found
        return None
    if isinstance(model, list) and isinstance(ledger, list) and len(model) == len(ledger):
        return next(filter(None, (differ(f"{path}[{i}]", a, b) for i, (a, b) in enumerate(zip(model, ledger)))), None)
    return None if model == ledger else f"{path}: model {model}, ledger {ledger}"


def main():
    model, last, blocks = None, None, 0
    for number, text in enumerate(open(sys.argv[1]), 1):
        line = json.loads(text)
        if "genesis" in line:
            model = Ledger(line["genesis"])
        elif "settle" in line:
            found = differ("settlement", model.settle(line["settle"]["epoch"], line["settle"]["evidence"]), line["settle"]["result"])
            if found:
                sys.exit(f"line {number}: {found}")
        else:
            blocks += 1
            model.begin()
            for tx, result in zip(line["txs"], line["results"]):
                found = differ("result", model.run(tx), result)
                if found:
                    sys.exit(f"line {number}, height {model.height}, {json.dumps(tx)}: {found}")
                model.check_identities()
            last = line.get("dump", last)
            found = differ("state", json.loads(json.dumps(model.dump())), last)
            if found:
                sys.exit(f"line {number}, height {model.height}, after {json.dumps(line['txs'])}: {found}")
    print(f"{blocks} blocks agree")


main()
