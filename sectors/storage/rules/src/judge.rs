//! Judging.
use cairn_sector::{EpochContext, EvidenceSource, Judgement, SortKey};
use cairn_types::DeviceId;
use crate::{Storage, types::Evidence};
/// Key.
pub fn sort_key(_: &DeviceId, _: &Evidence) -> SortKey { SortKey::new(Vec::new()) }
/// Judge.
pub fn judge(_: &EpochContext<'_, Storage>, _: &dyn EvidenceSource<Storage>) -> Judgement<Storage> { Judgement::default() }
