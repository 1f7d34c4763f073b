//! Values of state entries.

use crate::MAX_VALUE;
use commonware_codec::{Buf, EncodeSize, Error as CodecError, RangeCfg, Read, Write};
use commonware_runtime::BufMut;

/// A byte string of at most [`MAX_VALUE`] bytes whose decoding needs no configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Value(pub Vec<u8>);

impl Write for Value {
    fn write(&self, buf: &mut impl BufMut) {
        self.0.write(buf);
    }
}

impl EncodeSize for Value {
    fn encode_size(&self) -> usize {
        self.0.encode_size()
    }
}

impl Read for Value {
    type Cfg = ();

    fn read_cfg(buf: &mut impl Buf, _: &()) -> Result<Self, CodecError> {
        Vec::<u8>::read_cfg(buf, &(RangeCfg::from(0..=MAX_VALUE), ())).map(Self)
    }
}
