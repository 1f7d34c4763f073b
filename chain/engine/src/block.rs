//! The block: consensus context, opaque body and the commitments to the state.

use crate::machine::{FinalBlock, Hash, Header};
use commonware_codec::{
    Buf, Copying, DecodeExt as _, Encode, EncodeSize, Error as CodecError, FixedSize, MaxEncodeSize,
    RangeCfg, Read, ReadExt as _, Write,
};
use commonware_consensus::{
    Block as ConsensusBlock, BoundedBlock, CertifiableBlock, Heightable,
    simplex::types::Context,
    types::{Epoch, Height, Round, View},
};
use commonware_cryptography::{Digest as _, Digestible, Hasher, Sha256, ed25519, sha256};
use commonware_runtime::BufMut;
use commonware_storage::{
    mmr::{self, Location},
    qmdb::sync::Target,
};
use commonware_utils::range::NonEmptyRange;

/// Digest type of blocks and state.
pub(crate) type D = sha256::Digest;
/// Identity of a validator.
pub(crate) type Identity = ed25519::PublicKey;
/// What consensus knows about a proposal; embedded in each block.
pub(crate) type Ctx = Context<D, Identity>;

/// Largest body that any network may choose, in bytes.
pub(crate) const MAX_BODY_CEILING: usize = 16 * 1024 * 1024;

/// A block as it travels and is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    pub context: Ctx,
    pub parent: D,
    pub height: Height,
    pub timestamp_ms: u64,
    pub body: Vec<u8>,
    /// Root of the log of state operations: the target of state sync.
    pub ops_root: D,
    /// Canonical root of the state: what proofs verify against.
    pub state_root: D,
    /// Range of live operations: the other half of the sync target.
    pub range: NonEmptyRange<Location>,
}

impl Write for Block {
    fn write(&self, buf: &mut impl BufMut) {
        self.context.write(buf);
        self.parent.write(buf);
        self.height.write(buf);
        self.timestamp_ms.write(buf);
        self.body.write(buf);
        self.ops_root.write(buf);
        self.state_root.write(buf);
        self.range.write(buf);
    }
}

impl EncodeSize for Block {
    fn encode_size(&self) -> usize {
        self.context.encode_size()
            + self.parent.encode_size()
            + self.height.encode_size()
            + self.timestamp_ms.encode_size()
            + self.body.encode_size()
            + self.ops_root.encode_size()
            + self.state_root.encode_size()
            + self.range.encode_size()
    }
}

impl Read for Block {
    /// Largest body in bytes.
    type Cfg = usize;

    fn read_cfg(buf: &mut impl Buf, max_body: &usize) -> Result<Self, CodecError> {
        Ok(Self {
            context: Ctx::read(buf)?,
            parent: D::read(buf)?,
            height: Height::read(buf)?,
            timestamp_ms: u64::read(buf)?,
            body: Vec::<u8>::read_cfg(buf, &(RangeCfg::from(0..=*max_body), ()))?,
            ops_root: D::read(buf)?,
            state_root: D::read(buf)?,
            range: NonEmptyRange::read(buf)?,
        })
    }
}

impl Digestible for Block {
    type Digest = D;

    fn digest(&self) -> D {
        Sha256::hash(&[&self.encode()])
    }
}

impl Heightable for Block {
    fn height(&self) -> Height {
        self.height
    }
}

impl ConsensusBlock for Block {
    fn parent(&self) -> D {
        self.parent
    }
}

impl CertifiableBlock for Block {
    type Context = Ctx;

    fn context(&self) -> Ctx {
        self.context.clone()
    }
}

impl BoundedBlock for Block {
    fn max_encode_size(max_body: &usize) -> usize {
        // 5 bytes hold the varint length of any body below the ceiling.
        Ctx::MAX_ENCODE_SIZE
            + 3 * D::SIZE
            + Height::MAX_ENCODE_SIZE
            + u64::SIZE
            + 5
            + max_body
            + NonEmptyRange::<Location>::MAX_ENCODE_SIZE
    }
}

impl Block {
    /// The genesis block: empty state, and the machine's genesis id as its body.
    pub(crate) fn genesis(id: Hash, target: &Target<mmr::Family, D>) -> Self {
        Self {
            context: Ctx {
                round: Round::new(Epoch::zero(), View::zero()),
                leader: no_leader(),
                parent: (View::zero(), D::EMPTY),
            },
            parent: D::EMPTY,
            height: Height::zero(),
            timestamp_ms: 0,
            body: id.to_vec(),
            ops_root: target.root,
            state_root: D::EMPTY,
            range: target.range.clone(),
        }
    }

    /// The public view of a header in the making.
    pub(crate) fn header(context: &Ctx, height: u64, timestamp_ms: u64, parent: D) -> Header {
        Header { height, timestamp_ms, parent: parent.0, proposer: identity_bytes(&context.leader) }
    }

    /// The public view of this block.
    pub(crate) fn to_final(&self, digest: D) -> FinalBlock {
        FinalBlock {
            header: Self::header(&self.context, self.height.get(), self.timestamp_ms, self.parent),
            digest: digest.0,
            body: self.body.clone(),
            state_root: self.state_root.0,
        }
    }
}

/// The 32 bytes of an identity.
pub(crate) fn identity_bytes(identity: &Identity) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(identity.as_ref());
    out
}

/// A fixed key that stands where a leader must, in the block that nobody proposed.
fn no_leader() -> Identity {
    // The base point's neutral element is a valid encoding (ZIP-215), and nobody can sign with it usefully.
    let mut bytes = [0u8; 32];
    bytes[0] = 1;
    Identity::decode(Copying(&bytes)).expect("the neutral point is a valid ed25519 encoding")
}
