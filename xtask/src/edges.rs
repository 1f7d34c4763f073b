//! The one table of allowed edges between the crates of this workspace.
//!
//! Dependencies point down. To add a crate, add a row with the reason why it needs what it
//! uses; to add an edge, ask first whether the lower room can stay ignorant of it.

/// What a crate may use of this workspace.
pub enum May {
    /// These, and nothing else of ours.
    Use(&'static [&'static str]),
    /// Everything: only for the binary that puts all rooms together.
    UseAnything,
}

/// One row of the table.
pub struct Row {
    pub name: &'static str,
    pub may: May,
    pub reason: &'static str,
}

/// What tests may reach in addition, from every crate.
const FOR_ALL_TESTS: &str = "cairn-testkit";

/// Tests that drive a room through the other side of its door: (room, what its tests may use).
const FOR_TESTS: &[(&str, &str)] = &[
    // The API is tested with the client that people use.
    ("cairn-api", "cairn-client"),
    // The gateway is tested against the operators' real service as well as its own double.
    ("cairn-storage-gateway", "cairn-storage-node"),
];

/// May the tests of `from` use `to`?
pub fn for_tests(from: &str, to: &str) -> bool {
    to == FOR_ALL_TESTS || to == from || FOR_TESTS.contains(&(from, to))
}

const fn row(name: &'static str, uses: &'static [&'static str], reason: &'static str) -> Row {
    Row { name, may: May::Use(uses), reason }
}

/// The table, bottom first.
pub const TABLE: &[Row] = &[
    row("cairn-types", &[], "the floor: everybody stands on it"),
    row("cairn-crypto", &["cairn-types"], "keys and trees over the shared types"),
    row("cairn-sector", &["cairn-types", "cairn-crypto"], "the contract speaks in types, seeds and roots"),
    row(
        "cairn-ledger",
        &["cairn-types", "cairn-crypto", "cairn-sector"],
        "knows sectors only through the contract, never a sector by name",
    ),
    row("cairn-engine", &["cairn-types"], "consensus carries bytes; it does not know what they mean"),
    row(
        "cairn-node",
        &["cairn-types", "cairn-crypto", "cairn-sector", "cairn-ledger", "cairn-engine", "cairn-audit"],
        "runs the ledger on the engine and judges epochs as an auditor does",
    ),
    row(
        "cairn-api",
        &["cairn-types", "cairn-crypto", "cairn-ledger", "cairn-node", "cairn-engine", "cairn-sector"],
        "shows the node to the outside",
    ),
    row(
        "cairn-client",
        &["cairn-types", "cairn-crypto", "cairn-ledger", "cairn-sector", "cairn-engine"],
        "verifies certificates and state proofs without running a node",
    ),
    row("cairn-net", &["cairn-types", "cairn-crypto"], "carries bytes between keys"),
    row("cairn-storage-rules", &["cairn-types", "cairn-crypto", "cairn-sector"], "rules are pure: base only"),
    row(
        "cairn-storage-codec",
        &["cairn-types", "cairn-crypto", "cairn-storage-rules"],
        "cuts objects into what the rules can judge",
    ),
    row(
        "cairn-storage-node",
        &[
            "cairn-types",
            "cairn-crypto",
            "cairn-sector",
            "cairn-net",
            "cairn-client",
            "cairn-storage-rules",
            "cairn-storage-codec",
        ],
        "the operator's side: holds, serves, proves, repairs",
    ),
    row(
        "cairn-storage-gateway",
        &[
            "cairn-types",
            "cairn-crypto",
            "cairn-sector",
            "cairn-net",
            "cairn-client",
            "cairn-ledger",
            "cairn-storage-rules",
            "cairn-storage-codec",
        ],
        "the customer's side: S3 outside, leases inside",
    ),
    row(
        "cairn-coverage-rules",
        &["cairn-types", "cairn-crypto", "cairn-sector"],
        "a test sector obeys what a real one obeys",
    ),
    row(
        "cairn-arena-rules",
        &["cairn-types", "cairn-crypto", "cairn-sector"],
        "a test sector obeys what a real one obeys",
    ),
    row(
        "cairn-testkit",
        &[
            "cairn-types",
            "cairn-crypto",
            "cairn-sector",
            "cairn-ledger",
            "cairn-audit",
            "cairn-coverage-rules",
            "cairn-arena-rules",
        ],
        "holds the conformance suite and proves it on the two test sectors",
    ),
    row(
        "cairn-audit",
        &["cairn-types", "cairn-crypto", "cairn-sector", "cairn-ledger"],
        "recomputes any epoch; the registry of sectors is passed in",
    ),
    row(
        "cairn-operator",
        &[
            "cairn-types",
            "cairn-crypto",
            "cairn-sector",
            "cairn-net",
            "cairn-client",
            "cairn-ledger",
            "cairn-audit",
            "cairn-storage-rules",
            "cairn-storage-codec",
            "cairn-storage-node",
            "cairn-storage-gateway",
        ],
        "seats sector workers on the operator's machine",
    ),
    Row { name: "cairn", may: May::UseAnything, reason: "puts all rooms together" },
    row("xtask", &[], "must build when nothing else does"),
];

/// The row of a crate.
pub fn of(name: &str) -> Option<&'static Row> {
    TABLE.iter().find(|row| row.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_has_a_reason_and_stands_once() {
        for (place, row) in TABLE.iter().enumerate() {
            assert!(!row.reason.is_empty(), "{}", row.name);
            assert!(TABLE.iter().skip(place + 1).all(|other| other.name != row.name), "{}", row.name);
        }
    }

    #[test]
    fn rows_name_only_crates_of_the_table() {
        for row in TABLE {
            if let May::Use(uses) = row.may {
                for used in uses {
                    assert!(of(used).is_some(), "{} uses {used}", row.name);
                }
            }
        }
    }

    #[test]
    fn the_allowed_edges_have_no_cycle() {
        fn visit(name: &str, path: &mut Vec<String>) {
            assert!(!path.iter().any(|seen| seen == name), "cycle: {path:?} -> {name}");
            path.push(name.to_owned());
            if let Some(Row { may: May::Use(uses), .. }) = of(name) {
                for used in *uses {
                    visit(used, path);
                }
            }
            path.pop();
        }
        for row in TABLE {
            visit(row.name, &mut Vec::new());
        }
    }
}
