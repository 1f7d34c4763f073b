//! How a sector lists the cheats that it knows (`cheats.rs` of every room).

/// How a cheat is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caught {
    /// A [`crate::Fault`] with this code on every cheating device.
    Fault {
        /// The sector's code.
        code: u16,
    },
    /// No fault, since an honest worker's bad luck may look the same, but not one unit is paid.
    Unpaid,
    /// No fault, and pay as before: the market sees every cheating device as dearer than it lists.
    Dearer,
    /// The cheats together earn at most this share of what honest work would have earned them, in millionths.
    PaidAtMost {
        /// Millionths of the honest pay.
        ppm: u32,
    },
}

/// One row of a sector's catalogue of cheats. The conformance suite holds the sector to every row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cheat {
    /// Short lower-case name, unique in the sector.
    pub name: &'static str,
    /// Stated chance that an epoch of this cheat is met, in millionths; 1,000,000 = always.
    pub rate_ppm: u32,
    /// How it is met.
    pub caught: Caught,
    /// What the cheat does and what stops it, for readers.
    pub text: &'static str,
}
