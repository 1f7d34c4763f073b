//! Entry points for fuzzing: any bytes must come back as a value or an error, never as a panic.

use bytes::Bytes;
use cairn_storage_codec::keys::LeaseRepairKey;
use cairn_storage_codec::wire::{
    Request, decode_reply, decode_request, encode_reply, encode_request, open_part,
};

/// A request from anybody; what is accepted must encode to the same bytes.
pub fn request(data: &[u8]) {
    if let Ok(request) = decode_request(&Bytes::copy_from_slice(data)) {
        assert_eq!(encode_request(&request), data, "an accepted encoding is canonical");
        if let Request::Signed(signed) = request {
            let _ = signed.body();
        }
    }
}

/// An answer from anybody.
pub fn reply(data: &[u8]) {
    if let Ok(reply) = decode_reply(&Bytes::copy_from_slice(data)) {
        assert_eq!(encode_reply(&reply), data, "an accepted encoding is canonical");
    }
}

/// A repair part from anybody's log.
pub fn part(data: &[u8]) {
    let _ = open_part(&LeaseRepairKey::from_bytes([7; 32]), data);
}

/// What a crash left of an operator's journal; what is accepted must encode to the same bytes.
pub fn journal(data: &[u8]) {
    crate::store::check_journal(data);
}

#[cfg(test)]
mod tests {
    use cairn_testkit::fuzz::{Budget, drive};
    use proptest::prelude::*;

    #[test]
    fn mutated_journals_do_not_panic() {
        // One row put, one removed.
        let put = [1, 2, 0, 0, 0, 7, 7, 1, 1, 0, 0, 0, 9].as_slice();
        let removed = [2, 1, 0, 0, 0, 8, 0].as_slice();
        let honest = [[2, 0, 0, 0].as_slice(), put, removed].concat();
        drive(&super::journal, Budget::from_env(3000), 1, &[honest]).unwrap();
    }

    proptest! {
        #[test]
        fn random_bytes_do_not_panic(mut data in proptest::collection::vec(any::<u8>(), 0..400)) {
            super::part(&data);
            super::journal(&data);
            if let Some(first) = data.first_mut() {
                *first = cairn_storage_codec::wire::VERSION;
            }
            super::request(&data);
            super::reply(&data);
        }
    }
}
