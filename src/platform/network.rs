//! The network as the operating system sees it: names, sockets, and whether there is a way out.
//!
//! For looking at a connection step by step; requests themselves are the HTTP client's.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs, UdpSocket};
use std::time::Duration;

/// A network.
pub trait Network: Send + Sync {
    /// The addresses of a host, as the system looks them up. May take as long as it likes.
    fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>>;

    /// A connection to an address, within this time.
    fn connect(&self, address: &SocketAddr, limit: Duration) -> io::Result<TcpStream>;

    /// Whether this machine knows any way to other networks. Sends nothing.
    fn has_route(&self) -> bool;
}

/// The machine's own.
pub struct RealNetwork;

impl Network for RealNetwork {
    fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        Ok((host, port).to_socket_addrs()?.collect())
    }

    fn connect(&self, address: &SocketAddr, limit: Duration) -> io::Result<TcpStream> {
        TcpStream::connect_timeout(address, limit)
    }

    fn has_route(&self) -> bool {
        // "Connecting" a datagram socket only looks the way up. Both addresses are of blocks
        // that are set aside for documentation (RFC 5737, RFC 3849): nobody is there.
        let any_way = |from: SocketAddr, to: SocketAddr| {
            UdpSocket::bind(from).and_then(|socket| socket.connect(to))
        };
        any_way(
            (Ipv4Addr::UNSPECIFIED, 0).into(),
            (Ipv4Addr::new(192, 0, 2, 1), 9).into(),
        )
        .or_else(|_| {
            any_way(
                (Ipv6Addr::UNSPECIFIED, 0).into(),
                (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1), 9).into(),
            )
        })
        .is_ok()
    }
}
