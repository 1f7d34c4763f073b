//! The arithmetic of the arena: pure numbers, no ids.
//!
//! After the "Yuma consensus" of Bittensor (its paper, sections "consensus" and "bonds"), in integers: a score
//! counts up to the highest that more than `kappa` of the stake gives, and validators earn by a moving average of how
//! early they backed what the consensus rewards.

use cairn_types::{DeviceId, PPM, mul_div};

use crate::Params;

/// One validator's opened scores and remembered bonds, in the order of the miners.
pub struct Ballot {
    /// Who.
    pub validator: DeviceId,
    /// Weight.
    pub stake: u64,
    /// Score per miner.
    pub scores: Vec<u16>,
    /// Bond per miner after the epoch before, millionths.
    pub bonds: Vec<u32>,
}

/// The outcome.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Units per miner.
    pub miners: Vec<u64>,
    /// Units per validator.
    pub validators: Vec<u64>,
    /// New bonds per validator and miner, millionths.
    pub bonds: Vec<Vec<u32>>,
}

/// The highest score that validators with more than `kappa` of the revealed stake give; 0 if there is none.
pub fn clip_level(kappa_ppm: u32, scores: &[(u16, u64)]) -> u16 {
    let total: u128 = scores.iter().map(|(_, stake)| u128::from(*stake)).sum();
    let mut ranked: Vec<_> = scores.to_vec();
    ranked.sort_unstable_by(|a, b| b.cmp(a));
    let mut backing = 0u128;
    for (score, stake) in ranked {
        backing += u128::from(stake);
        // At exactly one half the lower median must win, or half of the stake could pay itself: strictly more.
        if backing * u128::from(PPM) > total * u128::from(kappa_ppm) {
            return score;
        }
    }
    0
}

/// Divides `pot` by weights, rounded down. Nothing for weights of zero.
fn divide(pot: u64, weights: &[u128]) -> Vec<u64> {
    let total: u128 = weights.iter().sum();
    let share =
        |w: &u128| mul_div(u128::from(pot), *w, total).and_then(|u| u64::try_from(u).ok()).unwrap_or(0);
    weights.iter().map(share).collect()
}

/// Settles an epoch with `n` miners.
pub fn settle(p: &Params, n: usize, ballots: &[Ballot]) -> Outcome {
    let score = |b: &Ballot, m: usize| b.scores.get(m).copied().unwrap_or(0);
    let levels: Vec<u16> = (0..n)
        .map(|m| clip_level(p.kappa_ppm, &ballots.iter().map(|b| (score(b, m), b.stake)).collect::<Vec<_>>()))
        .collect();
    let clipped = |b: &Ballot, m: usize| u128::from(score(b, m).min(levels.get(m).copied().unwrap_or(0)));
    let backing = |b: &Ballot, m: usize| u128::from(b.stake) * clipped(b, m);
    let ranks: Vec<u128> = (0..n).map(|m| ballots.iter().map(|b| backing(b, m)).sum()).collect();

    let bonds: Vec<Vec<u32>> = ballots
        .iter()
        .map(|b| {
            (0..n)
                .map(|m| blend(p, b.bonds.get(m).copied().unwrap_or(0), backing(b, m), ranks.get(m)))
                .collect()
        })
        .collect();
    let dividend = |bonds: &Vec<u32>| -> u128 {
        // Ranks are below 64 x 2^64 x 10^4 < 2^84; times 10^6 and 256 miners stay below 2^112.
        bonds.iter().zip(&ranks).map(|(bond, rank)| u128::from(*bond) * rank).sum()
    };
    Outcome {
        miners: divide(p.miner_units, &ranks),
        validators: divide(p.validator_units, &bonds.iter().map(dividend).collect::<Vec<_>>()),
        bonds,
    }
}

/// Moving average: `alpha` of this epoch's share in the backing of a miner, the rest from before. Millionths.
fn blend(p: &Params, before: u32, backing: u128, rank: Option<&u128>) -> u32 {
    let now = mul_div(backing, u128::from(PPM), rank.copied().unwrap_or(0)).unwrap_or(0);
    let alpha = u128::from(p.alpha_ppm);
    let rest = u128::from(PPM).saturating_sub(alpha);
    let mixed = (alpha * now + rest * u128::from(before)) / u128::from(PPM);
    u32::try_from(mixed).unwrap_or(u32::MAX).min(1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ballot(stake: u64, scores: &[u16]) -> Ballot {
        Ballot {
            validator: DeviceId::default(),
            stake,
            scores: scores.to_vec(),
            bonds: vec![0; scores.len()],
        }
    }

    #[test]
    fn the_clip_level_is_the_stake_weighted_median() {
        assert_eq!(clip_level(500_000, &[(10, 1), (20, 1), (30, 1)]), 20);
        assert_eq!(clip_level(500_000, &[(10, 1), (20, 1), (30, 5)]), 30);
        // Exactly half of the stake does not decide.
        assert_eq!(clip_level(500_000, &[(0, 5), (9_000, 5)]), 0);
        assert_eq!(clip_level(500_000, &[]), 0);
        assert_eq!(clip_level(1_000_000, &[(10, 1)]), 0);
    }

    #[test]
    fn settlement_has_golden_numbers() {
        let p =
            Params { miner_units: 1_000, validator_units: 1_000, alpha_ppm: 500_000, ..Params::default() };
        let ballots = [ballot(2, &[100, 50]), ballot(2, &[100, 50]), ballot(1, &[0, 10_000])];
        let got = settle(&p, 2, &ballots);
        // Levels 100 and 50. Ranks 2*100 + 2*100 + 0 = 400 and 2*50 + 2*50 + 1*50 = 250.
        assert_eq!(got.miners, [615, 384]);
        assert_eq!(got.bonds, [[250_000, 200_000], [250_000, 200_000], [0, 100_000]]);
        // Dividends 250*400 + 200*250 = 150, twice, and 100*250 = 25, in thousands of thousands.
        assert_eq!(got.validators, [461, 461, 76]);
    }

    proptest! {
        #[test]
        fn a_minority_cannot_raise_a_miner_that_the_majority_refuses(
            stakes in proptest::collection::vec(1u64..1_000_000, 1..8),
            minority in 1u64..1_000_000,
        ) {
            let honest: u64 = stakes.iter().sum();
            prop_assume!(minority <= honest);
            let mut ballots: Vec<_> = stakes.iter().map(|s| ballot(*s, &[0, 500])).collect();
            ballots.push(ballot(minority, &[10_000, 0]));
            prop_assert_eq!(settle(&Params::default(), 2, &ballots).miners[0], 0);
        }

        #[test]
        fn no_more_than_the_pot_is_divided(
            rows in proptest::collection::vec((any::<u64>(), proptest::collection::vec(0u16..=10_000, 5)), 0..64),
        ) {
            let p = Params::default();
            let ballots: Vec<_> = rows.iter().map(|(stake, scores)| ballot(*stake, scores)).collect();
            let got = settle(&p, 5, &ballots);
            prop_assert!(got.miners.iter().sum::<u64>() <= p.miner_units);
            prop_assert!(got.validators.iter().sum::<u64>() <= p.validator_units);
            prop_assert!(got.bonds.iter().flatten().all(|b| *b <= 1_000_000));
        }
    }
}
