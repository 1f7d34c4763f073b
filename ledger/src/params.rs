//! Governed numbers of the chain and their bounds.

use borsh::{BorshDeserialize, BorshSerialize};
use cairn_types::{Amount, Credits, PPM};

/// Governed numbers of the chain; bounds in [`ChainParams::check`].
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ChainParams {
    /// Blocks of an epoch.
    pub epoch_blocks: u64,
    /// Nominal seconds of an epoch.
    pub epoch_seconds: u64,
    /// Blocks after the lock within which answers count.
    pub answer_blocks: u64,
    /// Blocks after the end of an epoch within which bundle hashes count.
    pub cut_blocks: u64,
    /// Blocks after the end of an epoch within which certificates count.
    pub certify_blocks: u64,
    /// Blocks after the end of an epoch after which a sector's epoch is void.
    pub vote_blocks: u64,
    /// Epochs that earnings stay held and bonds locked.
    pub window_epochs: u64,
    /// Epochs of notice before a device leaves.
    pub exit_epochs: u64,
    /// Epochs that a lease may stay unpaid before it ends.
    pub unpaid_epochs: u64,
    /// Blocks to answer a dispute.
    pub dispute_blocks: u64,
    /// Pebbles burned for each account transaction.
    pub base_fee: Amount,
    /// Pebbles burned for each byte of an account transaction.
    pub byte_fee: Amount,
    /// Share of a fee that is burned (ppm, at least 20,000).
    pub burn_ppm: u64,
    /// Share of a fee for stakers (ppm).
    pub stakers_ppm: u64,
    /// Share of a fee for the treasury (ppm).
    pub treasury_ppm: u64,
    /// Offers examined for one order at most.
    pub scan_limit: u32,
    /// Bond of a dispute's accuser, in credits.
    pub dispute_bond: Credits,
    /// Epochs in which half of a lost reputation comes back.
    pub reputation_half_life: u64,
}

impl Default for ChainParams {
    fn default() -> Self {
        Self {
            epoch_blocks: 3600,
            epoch_seconds: 3600,
            answer_blocks: 60,
            cut_blocks: 120,
            certify_blocks: 240,
            vote_blocks: 1800,
            window_epochs: 24,
            exit_epochs: 24,
            unpaid_epochs: 72,
            dispute_blocks: 1200,
            base_fee: Amount(10_000),
            byte_fee: Amount(100),
            burn_ppm: 40_000,
            stakers_ppm: 40_000,
            treasury_ppm: 20_000,
            scan_limit: 512,
            dispute_bond: Credits(1_000_000),
            reputation_half_life: 168,
        }
    }
}

impl ChainParams {
    /// Bounds that no vote may leave.
    pub fn check(&self) -> Result<(), cairn_types::Refusal> {
        let shares = self.burn_ppm.saturating_add(self.stakers_ppm).saturating_add(self.treasury_ppm);
        let ok = self.epoch_blocks >= 8
            && self.epoch_seconds >= 1
            && (1..self.epoch_blocks).contains(&self.answer_blocks)
            && self.cut_blocks >= 1
            && self.cut_blocks < self.certify_blocks
            && self.certify_blocks < self.vote_blocks
            && self.vote_blocks < self.epoch_blocks
            && self.window_epochs >= 1
            && self.exit_epochs >= 1
            && self.unpaid_epochs >= 1
            && (20_000..=500_000).contains(&self.burn_ppm)
            && shares <= PPM / 2
            && (1..=4096).contains(&self.scan_limit)
            && self.reputation_half_life >= 1;
        if ok {
            return Ok(());
        }
        Err(cairn_types::Refusal::new(
            "params.bounds",
            "a governed number is outside its bounds",
            "epoch >= 8 blocks; 1 <= answer < epoch; cut < certify < vote < epoch; burn 2..50 %; fee shares <= 50 %",
        ))
    }
}
