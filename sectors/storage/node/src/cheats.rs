//! Dishonest behaviour for devnets and tests, switched on by name at run time. Honest code asks only at its edges.

use cairn_storage_codec::segment::SegmentId;
use cairn_storage_rules::types::{Answer, AnswerBody, Commitment};
use cairn_types::Epoch;
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// A way to cheat; names as in the rules' catalogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cheat {
    /// `dropped-data-10`: a tenth of the segments is gone.
    DroppedData10,
    /// `dropped-data-1`: a hundredth is gone.
    DroppedData1,
    /// `silent-when-hit`: says nothing when a challenge hits what is gone. Together with one of the above.
    SilentWhenHit,
    /// `stale-proof`: answers of the epoch before under the new epoch's number.
    StaleProof,
    /// `bad-proof`: chunks with a wrong byte.
    BadProof,
    /// `commitment-changed`: answers lead to another commitment than the one posted.
    CommitmentChanged,
    /// `inflated-size`: commits to ten times the weight.
    InflatedSize,
    /// `proof-answered-bytes-refused`, `proves-but-does-not-serve`: proves, but serves nobody, auditors included.
    BytesRefused,
}

/// All cheats with their names.
pub const ALL: [(&str, Cheat); 9] = [
    ("dropped-data-10", Cheat::DroppedData10),
    ("dropped-data-1", Cheat::DroppedData1),
    ("silent-when-hit", Cheat::SilentWhenHit),
    ("stale-proof", Cheat::StaleProof),
    ("bad-proof", Cheat::BadProof),
    ("commitment-changed", Cheat::CommitmentChanged),
    ("inflated-size", Cheat::InflatedSize),
    ("proof-answered-bytes-refused", Cheat::BytesRefused),
    // The same behaviour, as the audits see it.
    ("proves-but-does-not-serve", Cheat::BytesRefused),
];

impl Cheat {
    /// The cheat of that name.
    pub fn named(name: &str) -> Option<Self> {
        ALL.iter().find(|(n, _)| *n == name).map(|(_, c)| *c)
    }
}

/// Which cheats are on. All off at first.
#[derive(Debug, Default)]
pub struct Cheats(Mutex<BTreeSet<Cheat>>);

impl Cheats {
    /// Switches a cheat.
    pub fn set(&self, cheat: Cheat, on: bool) {
        let mut set = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if on {
            set.insert(cheat);
        } else {
            set.remove(&cheat);
        }
    }
    /// True if the cheat is on.
    pub fn has(&self, cheat: Cheat) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&cheat)
    }
    /// True if the device pretends to have lost the segment.
    pub fn lost(&self, segment: &SegmentId) -> bool {
        let byte = segment.0[0];
        (self.has(Cheat::DroppedData10) && byte < 26) || (self.has(Cheat::DroppedData1) && byte < 3)
    }
    /// True if bytes are not served.
    pub fn refuses(&self, segment: &SegmentId) -> bool {
        self.has(Cheat::BytesRefused) || self.lost(segment)
    }
    /// What is posted instead of the honest commitment.
    pub fn commitment(&self, mut honest: Commitment) -> Commitment {
        if self.has(Cheat::InflatedSize) {
            honest.tree.total = honest.tree.total.saturating_mul(10);
        }
        honest
    }
    /// What is given instead of the honest answers; `None` is silence.
    pub fn answers(
        &self,
        epoch: Epoch,
        honest: Vec<Answer>,
        before: Option<Vec<Answer>>,
    ) -> Option<Vec<Answer>> {
        let missing = honest.iter().any(|a| a.body == AnswerBody::Missing);
        if self.has(Cheat::SilentWhenHit) && missing {
            return None;
        }
        if let (true, Some(before)) = (self.has(Cheat::StaleProof), before) {
            return Some(before.into_iter().map(|a| Answer { epoch, ..a }).collect());
        }
        Some(honest.into_iter().map(|a| self.bend(a)).collect())
    }
    fn bend(&self, mut answer: Answer) -> Answer {
        if let AnswerBody::Leaf(leaf) = &mut answer.body {
            if let (true, Some(byte)) = (self.has(Cheat::BadProof), leaf.chunk.chunk.first_mut()) {
                *byte ^= 1;
            }
            if self.has(Cheat::CommitmentChanged) {
                leaf.in_operator.path.clear();
                leaf.in_operator.offset_in_leaf = leaf.in_operator.offset_in_leaf.wrapping_add(1);
            }
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_means_one_cheat_that_is_off_until_switched_on() {
        let cheats = Cheats::default();
        for (name, cheat) in ALL {
            assert_eq!(Cheat::named(name), Some(cheat));
            assert!(!cheats.has(cheat));
            cheats.set(cheat, true);
            assert!(cheats.has(cheat));
            cheats.set(cheat, false);
            assert!(!cheats.has(cheat));
        }
        assert_eq!(Cheat::named("none"), None);
    }
}
