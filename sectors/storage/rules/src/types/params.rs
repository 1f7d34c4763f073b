//! Governed numbers of the sector.

use borsh::{BorshDeserialize, BorshSerialize};
use cairn_types::Rate;

/// Governed numbers; [`crate::params::check`] holds their bounds.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Params {
    /// Nominal seconds of an epoch. Must equal the genesis value: capacity and reserve are counted in
    /// KiB-seconds of one epoch. `1..=86_400`.
    pub epoch_seconds: u64,
    /// Smallest capacity that may be offered, in chunks of 1 KiB.
    pub min_capacity_chunks: u64,
    /// Largest capacity of one device, in chunks; at most 2^41 (2 PiB).
    pub max_capacity_chunks: u64,
    /// Bond for each GiB of capacity, in credits.
    pub bond_per_gib: u64,
    /// Fewest challenges of a device that holds anything, each epoch.
    pub floor: u32,
    /// Loss to be found, absolute: chunks (10 GiB).
    pub lost_chunks: u64,
    /// Loss to be found, relative, in millionths (1000 = 0.1 %); the larger of both counts.
    pub lost_ppm: u32,
    /// Epochs within which that loss is found (24).
    pub within: u32,
    /// `ln(1 / (1 - confidence))` in millionths, rounded up; 4_605_171 stands for 99 %.
    pub confidence_log_micro: u64,
    /// Challenges of a suspect device, as a multiple (16).
    pub suspect_factor: u32,
    /// Most challenges of one device and epoch, at most 4096.
    pub max_challenges: u32,
    /// Epochs without valid answers before everything the device holds counts as lost.
    pub silent_epochs: u32,
    /// Share of missed challenges above which repair starts at once, in millionths (20_000 = 2 %).
    pub repair_ppm: u32,
    /// Factor between the share found missing and the share of the bond at stake; at least 3.
    pub severity_factor: u32,
    /// Most slots of a lease, at most 64.
    pub max_slots: u16,
    /// Price of reserved, unused capacity as a share of the at-rest rate, in millionths.
    pub reservation_ppm: u32,
    /// Price of one rebuilt KiB, from the bond of the device that lost it.
    pub repair_rate: Rate,
    /// Most KiB that either side serves or takes without a receipt; nodes and gateways obey it.
    pub exposure_kib: u64,
    /// Epochs after a lease's last paid one in which its data must still be served.
    pub grace_epochs: u32,
    /// Epochs of full at-rest price that must lie in escrow when a lease opens.
    pub escrow_epochs: u32,
    /// Chunks that an auditor asks for at once, at most 256; 0 = no audits.
    pub audit_chunks: u32,
    /// An audit that is answered within 2^this milliseconds is worth all, each doubling beyond it half. `6..=20`.
    pub audit_log_ms: u8,
    /// Epochs in which a retrieval score goes half the way to what auditors see. `1..=720`.
    pub audit_half_life: u32,
    /// How much dearer than it lists a device that never serves looks to the market, in millionths; at most 7,000,000.
    pub audit_surcharge_ppm: u32,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            epoch_seconds: 3600,
            min_capacity_chunks: 1 << 10,
            max_capacity_chunks: 1 << 41,
            bond_per_gib: 30_000,
            floor: 20,
            lost_chunks: 10 << 20,
            lost_ppm: 1000,
            within: 24,
            confidence_log_micro: 4_605_171,
            suspect_factor: 16,
            max_challenges: 4096,
            silent_epochs: 3,
            repair_ppm: 20_000,
            severity_factor: 3,
            max_slots: 64,
            reservation_ppm: 100_000,
            // 10 $ a TB: what rebuilding costs in transfers at a usual expansion.
            repair_rate: Rate(10_240_000_000),
            exposure_kib: 16 << 10,
            grace_epochs: 72,
            escrow_epochs: 24,
            // About 150 KiB with the proofs: a home uplink carries that in a second, and a disk that only pretends does not.
            audit_chunks: 64,
            audit_log_ms: 12,
            audit_half_life: 24,
            audit_surcharge_ppm: 3_000_000,
        }
    }
}
