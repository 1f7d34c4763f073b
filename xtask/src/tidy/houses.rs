//! Rooms as wholes: which crate uses which, a README at each door, the same file names in
//! every sector.

use super::{Finding, error};
use crate::edges::{self, May};
use crate::workspace::Room;

/// The files of every sector's rules, so that whoever knows one sector knows all.
const RULE_FILES: [&str; 10] = [
    "lib.rs",
    "types.rs",
    "params.rs",
    "admit.rs",
    "quote.rs",
    "tasks.rs",
    "judge.rs",
    "attribute.rs",
    "dispute.rs",
    "cheats.rs",
];

/// Compares every edge between rooms with the table.
pub fn edges(rooms: &[Room]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for room in rooms {
        let manifest = format!("{}/Cargo.toml", room.dir);
        let Some(row) = edges::of(&room.name) else {
            findings.push(error(
                manifest,
                "dependency-edges",
                format!("the crate {} is not in the table of allowed edges", room.name),
                "add it to the table in xtask/src/edges.rs, with a reason",
            ));
            continue;
        };
        let May::Use(allowed) = row.may else {
            continue;
        };
        let ours = room.uses.iter().filter(|edge| rooms.iter().any(|other| other.name == edge.to));
        for edge in ours {
            let for_tests = edge.dev && edges::for_tests(&room.name, &edge.to);
            if !for_tests && !allowed.contains(&edge.to.as_str()) {
                findings.push(error(
                    manifest.clone(),
                    "dependency-edges",
                    format!("{} may not use {} ({}: {})", room.name, edge.to, room.name, row.reason),
                    "move what both need into a lower room, or pass it in as a value; \
                     change xtask/src/edges.rs only with a reason",
                ));
            }
        }
    }
    findings
}

/// Every crate has a README.md.
pub fn readmes(rooms: &[Room], files: &[String]) -> Vec<Finding> {
    let wanted = rooms.iter().map(|room| format!("{}/README.md", room.dir));
    wanted
        .filter(|readme| !files.contains(readme))
        .map(|readme| {
            error(
                readme,
                "readme",
                "the crate has no README.md".to_owned(),
                "say what the room is for, what it deliberately does not know, \
                 and how to try it in two commands",
            )
        })
        .collect()
}

/// Every `sectors/<name>/rules` has the same file names, and the sector a `privacy.md`.
pub fn sectors(rooms: &[Room], files: &[String]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for room in rooms {
        let Some(sector) = room.dir.strip_suffix("/rules").filter(|dir| is_sector(dir)) else {
            continue;
        };
        let mut wanted: Vec<(String, &str)> = RULE_FILES
            .iter()
            .map(|name| {
                let remedy = "add the file, if only with a sentence why the sector has nothing there";
                (format!("{}/src/{name}", room.dir), remedy)
            })
            .collect();
        wanted.push((
            format!("{sector}/privacy.md"),
            "add it: each public field, why judging needs it, its resolution, its retention",
        ));
        for (file, remedy) in wanted {
            if !files.contains(&file) {
                let what = "every sector has this file; here it is missing".to_owned();
                findings.push(error(file, "sector-files", what, remedy));
            }
        }
    }
    findings
}

fn is_sector(dir: &str) -> bool {
    dir.strip_prefix("sectors/").is_some_and(|name| !name.is_empty() && !name.contains('/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Edge;

    fn room(name: &str, dir: &str, uses: &[(&str, bool)]) -> Room {
        let uses = uses.iter().map(|(to, dev)| Edge { to: (*to).to_owned(), dev: *dev }).collect();
        Room { name: name.to_owned(), dir: dir.to_owned(), uses }
    }

    fn house() -> Vec<Room> {
        vec![
            room("cairn-types", "base/types", &[("borsh", false)]),
            room("cairn-crypto", "base/crypto", &[("cairn-types", false)]),
            room("cairn-testkit", "testkit", &[("cairn-types", false)]),
            room("cairn-ledger", "ledger", &[("cairn-types", false), ("cairn-testkit", true)]),
        ]
    }

    #[test]
    fn allowed_edges_and_foreign_crates_pass() {
        assert!(edges(&house()).is_empty());
    }

    #[test]
    fn an_edge_upwards_is_found() {
        let mut rooms = house();
        rooms.push(room("cairn-engine", "chain/engine", &[("cairn-ledger", false)]));
        let findings = edges(&rooms);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].file, "chain/engine/Cargo.toml");
        assert!(findings[0].what.contains("cairn-engine may not use cairn-ledger"));
    }

    #[test]
    fn only_tests_reach_the_testkit() {
        let mut rooms = house();
        rooms[3].uses[1].dev = false;
        assert_eq!(edges(&rooms).len(), 1);
    }

    #[test]
    fn a_dev_dependency_is_no_way_around_the_table() {
        let mut rooms = house();
        rooms[1].uses.push(Edge { to: "cairn-ledger".to_owned(), dev: true });
        assert_eq!(edges(&rooms).len(), 1);
    }

    #[test]
    fn an_unknown_crate_is_found_with_its_remedy() {
        let findings = edges(&[room("cairn-shed", "shed", &[])]);
        assert!(findings[0].remedy.contains("with a reason"));
    }

    #[test]
    fn the_binary_may_use_everything() {
        let mut rooms = house();
        rooms.push(room("cairn", "bin/cairn", &[("cairn-ledger", false), ("cairn-testkit", false)]));
        assert!(edges(&rooms).is_empty());
    }

    #[test]
    fn a_crate_without_readme_is_found() {
        let files = ["base/types/README.md", "ledger/README.md", "testkit/README.md"].map(String::from);
        let findings = readmes(&house(), &files);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].file, "base/crypto/README.md");
    }

    #[test]
    fn sectors_have_the_same_file_names() {
        let rooms = [
            room("cairn-storage-rules", "sectors/storage/rules", &[]),
            room("cairn-storage-node", "sectors/storage/node", &[]),
            room("cairn-coverage-rules", "testkit/sectors/coverage", &[]),
        ];
        let mut files: Vec<String> =
            RULE_FILES.iter().map(|name| format!("sectors/storage/rules/src/{name}")).collect();
        files.push("sectors/storage/privacy.md".to_owned());
        assert!(sectors(&rooms, &files).is_empty());
        files.retain(|file| !file.ends_with("/cheats.rs") && !file.ends_with(".md"));
        let missing: Vec<String> = sectors(&rooms, &files).into_iter().map(|f| f.file).collect();
        assert_eq!(missing, ["sectors/storage/rules/src/cheats.rs", "sectors/storage/privacy.md"]);
    }
}
