//! Every decoder of foreign bytes: 2,000 inputs each, or `CAIRN_FUZZ_SECONDS` seconds each.

use cairn_arena_rules::Arena;
use cairn_coverage_rules::Coverage;
use cairn_sector::Sectors;
use cairn_testkit::fuzz::{Budget, CRYPTO_TARGETS, TARGETS, drive, sector_targets};
use cairn_types::encode;

/// The frozen fixtures of a sector, as a corpus.
fn corpus(fixtures: &str) -> Vec<Vec<u8>> {
    fixtures.lines().filter_map(|l| hex::decode(l.split_whitespace().nth(1)?).ok()).collect()
}

#[test]
fn no_target_panics() {
    let fixtures = [
        include_str!("../../sectors/coverage/tests/it/fixtures/frozen.txt"),
        include_str!("../../sectors/arena/tests/it/fixtures/frozen.txt"),
    ];
    let corpus: Vec<_> = fixtures.iter().flat_map(|f| corpus(f)).collect();
    assert!(corpus.len() > 10, "the corpus is empty");
    // In the order of the registry: by sector id.
    let params =
        [encode(&cairn_coverage_rules::Params::default()), encode(&cairn_arena_rules::Params::default())];
    let sectors = Sectors::new().with::<Coverage>().with::<Arena>();
    let of_sectors = sector_targets(&sectors, &params);
    assert_eq!(of_sectors.len(), 14);
    let budget = Budget::from_env(2_000);
    for (name, target) in TARGETS.iter().chain(CRYPTO_TARGETS) {
        let done = drive(target, budget, 1, &corpus).unwrap_or_else(|found| panic!("{name}: {found}"));
        assert!(done > 0, "{name} got no input");
    }
    for target in &of_sectors {
        let done = drive(&*target.run, budget, 2, &corpus)
            .unwrap_or_else(|found| panic!("{}: {found}", target.name));
        assert!(done > 0, "{} got no input", target.name);
    }
}
