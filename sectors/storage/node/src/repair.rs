//! Repair.
/// Placeholder.
#[derive(Debug)]
pub struct RepairAgent;
