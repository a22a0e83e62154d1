//! A peer's address in 24 bytes: every connection has one, and a `SocketAddr` takes 32.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

/// A peer's address without its flow label, which the system tells only those who have asked for it.
#[derive(Debug, Clone, Copy)]
pub(super) struct PeerAddr {
    /// Of version 4, the first four of them.
    octets: [u8; 16],
    scope_id: u32,
    port: u16,
    is_v6: bool,
}

impl From<SocketAddr> for PeerAddr {
    fn from(addr: SocketAddr) -> Self {
        let port = addr.port();
        match addr {
            SocketAddr::V4(v4) => {
                let mut octets = [0; 16];
                octets[..4].copy_from_slice(&v4.ip().octets());
                Self { octets, scope_id: 0, port, is_v6: false }
            }
            SocketAddr::V6(v6) => {
                let octets = v6.ip().octets();
                Self { octets, scope_id: v6.scope_id(), port, is_v6: true }
            }
        }
    }
}

impl From<PeerAddr> for SocketAddr {
    fn from(addr: PeerAddr) -> Self {
        let PeerAddr { octets, scope_id, port, is_v6 } = addr;
        if is_v6 {
            return SocketAddrV6::new(Ipv6Addr::from(octets), port, 0, scope_id).into();
        }
        let [a, b, c, d, ..] = octets;
        (Ipv4Addr::new(a, b, c, d), port).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_given_back_as_it_was() {
        for addr in [
            "192.0.2.7:80",
            "0.0.0.0:0",
            "[2001:db8::1]:65535",
            "[::]:1",
            "[fe80::1%3]:9",
            // Version 4 by way of a socket of version 6 stays what the system has called it.
            "[::ffff:192.0.2.7]:80",
        ] {
            let addr: SocketAddr = addr.parse().unwrap();
            assert_eq!(SocketAddr::from(PeerAddr::from(addr)), addr);
        }
        assert_eq!(size_of::<PeerAddr>(), 24);
    }
}
