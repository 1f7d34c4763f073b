//! Ranges of addresses.

use std::net::IpAddr;

/// Addresses with the same first bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Net {
    address: IpAddr,
    bits: u8,
}

impl Net {
    /// `192.0.2.0/24`, `2001:db8::/32`, or one address. Bits behind the length may be set and do not count.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            Some(bits) if bits.bytes().all(|b| b.is_ascii_digit()) => {
                bits.parse().ok().filter(|b| *b <= most)?
            }
            Some(_) => return None,
            None => most,
        };
        Some(Self { address, bits })
    }

    /// Whether an address is in it. An IPv4 address written as IPv6 counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                same(u128::from(a.to_bits()) << 96, u128::from(b.to_bits()) << 96, self.bits)
            }
            (IpAddr::V6(a), IpAddr::V6(b)) => same(a.to_bits(), b.to_bits(), self.bits),
            _ => false,
        }
    }

    /// Whether it is so wide that it fixes nobody: shorter than /8, of IPv6 than /32.
    pub const fn is_wide(&self) -> bool {
        self.bits < if self.address.is_ipv4() { 8 } else { 32 }
    }
}

fn same(a: u128, b: u128, bits: u8) -> bool {
    (a ^ b).checked_shr(128u32.saturating_sub(bits.into())).unwrap_or(0) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_hold_what_they_say() {
        let inside = |net: &str, ip: &str| Net::parse(net).unwrap().contains(ip.parse().unwrap());
        assert!(inside("192.0.2.0/24", "192.0.2.255"));
        assert!(!inside("192.0.2.0/24", "192.0.3.0"));
        assert!(inside("192.0.2.7", "192.0.2.7") && !inside("192.0.2.7", "192.0.2.8"));
        assert!(inside("0.0.0.0/0", "203.0.113.9") && !inside("0.0.0.0/0", "::1"));
        assert!(inside("2001:db8::/33", "2001:db8:7fff::1") && !inside("2001:db8::/33", "2001:db8:8000::1"));
        assert!(inside("::/0", "2001:db8::1"));
        assert!(inside("10.0.0.0/8", "::ffff:10.1.2.3"));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in
            ["", "10.0.0.0/33", "10.0.0/8", "::/129", "10.0.0.0/+8", "10.0.0.0/", "x/8", "10.0.0.0/8/8"]
        {
            assert_eq!(Net::parse(text), None, "{text}");
        }
        assert!(Net::parse("0.0.0.0/0").unwrap().is_wide() && !Net::parse("10.0.0.0/8").unwrap().is_wide());
    }
}
