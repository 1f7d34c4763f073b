//! Everything needed to judge an epoch again, in one file.

use borsh::{BorshDeserialize, BorshSerialize};
use cairn_ledger::settle::{Line, Settled};
use cairn_ledger::settlement::Settlement;
use cairn_types::{DecodeError, Hash, decode_bounded, encode};

use crate::inputs::Inputs;

/// First bytes of a pack: name and version of the format.
pub const PACK_MAGIC: [u8; 8] = *b"cairnpk2";
/// Largest pack that is read, in bytes.
pub const MAX_PACK: usize = 1 << 31;

/// A judged epoch of a sector with all that it was judged from.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Pack {
    /// [`PACK_MAGIC`].
    pub magic: [u8; 8],
    /// The record; its id is what an auditor trusts.
    pub settlement: Settlement,
    /// What it was made from.
    pub inputs: Inputs,
    /// The judged rows with their worth, so that the first row that differs can be named.
    pub lines: Vec<Line>,
    /// First eight bytes of the digest of each device, lease, sale, posting, memory pair and tally pair, in this
    /// order, so that the entry that differs can be named. Trust rests on the roots alone.
    pub marks: Vec<[u8; 8]>,
}

impl Pack {
    /// The pack of a made settlement.
    pub fn new(inputs: Inputs, settled: &Settled) -> Self {
        let marks = entries(&inputs).map(|(_, bytes)| mark(&bytes)).collect();
        Self {
            magic: PACK_MAGIC,
            settlement: settled.settlement.clone(),
            inputs,
            lines: settled.lines.clone(),
            marks,
        }
    }

    /// The bytes of a file.
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// Decodes foreign bytes; memory used is proportional to them.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        if !bytes.starts_with(&PACK_MAGIC) {
            return Err(DecodeError::Malformed("not an evidence pack of a known version".into()));
        }
        decode_bounded(bytes, MAX_PACK)
    }
}

/// Entries with their names, in the order of the marks.
pub(crate) fn entries(x: &Inputs) -> impl Iterator<Item = (String, Vec<u8>)> + '_ {
    let pairs = |what: &'static str, list: &'_ [(Vec<u8>, Vec<u8>)]| {
        list.iter().map(move |p| (format!("{what} {}", hex(&p.0)), encode(p))).collect::<Vec<_>>()
    };
    let devices = x.devices.iter().map(|e| (format!("registry: device {}", e.id), encode(e)));
    let leases = x.leases.iter().map(|e| (format!("registry: lease {}", e.id), encode(e)));
    let sales = x.sales.iter().map(|e| (format!("registry: sale {}", e.id), encode(e)));
    let postings = x.postings.iter().map(|e| (format!("posting of device {}", e.device), encode(e)));
    devices
        .chain(leases)
        .chain(sales)
        .chain(postings)
        .chain(pairs("memory at", &x.memory))
        .chain(pairs("tally at", &x.tally))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

pub(crate) fn mark(bytes: &[u8]) -> [u8; 8] {
    let digest = Hash::derive("cairn/pack/mark", &[bytes]);
    let mut out = [0; 8];
    out.copy_from_slice(&digest.0[..8]);
    out
}
