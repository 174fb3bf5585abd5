//! Which addresses a bind mode means.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, UdpSocket};

/// `gateway.bind`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bind {
    Auto,
    Lan,
    Loopback,
    Custom,
    Tailnet,
}

impl Bind {
    /// The name in the file and in messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Lan => "lan",
            Self::Loopback => "loopback",
            Self::Custom => "custom",
            Self::Tailnet => "tailnet",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        [Self::Auto, Self::Lan, Self::Loopback, Self::Custom, Self::Tailnet]
            .into_iter()
            .find(|mode| mode.as_str() == text)
    }
}

/// The addresses to listen on. A mode that finds no address of its kind is
/// refused: falling back to every interface would publish the port unasked.
pub(super) fn hosts(bind: Bind, custom: Option<&str>) -> Result<Vec<IpAddr>, String> {
    match bind {
        Bind::Loopback | Bind::Auto => {
            Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()])
        }
        Bind::Lan => Ok(vec![Ipv4Addr::UNSPECIFIED.into()]),
        Bind::Tailnet => tailnet_address().map(|host| vec![host.into()]).ok_or_else(|| {
            "gateway.bind=tailnet found no tailnet address (100.64.0.0/10) on this host".to_owned()
        }),
        Bind::Custom => {
            let host = custom.map(str::trim).filter(|host| !host.is_empty());
            let host = host.ok_or("gateway.bind=custom requires gateway.customBindHost")?;
            let address: Ipv4Addr = host.parse().map_err(|_| {
                format!("gateway.bind=custom requires a valid IPv4 customBindHost (got {host})")
            })?;
            TcpListener::bind((address, 0)).map_err(|err| {
                format!("gateway.bind=custom: {address} is not an address of this host: {err}")
            })?;
            Ok(vec![address.into()])
        }
    }
}

/// The private address from which this host would talk to others.
pub fn lan_address() -> Option<Ipv4Addr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    // An address that documentation has for itself: nothing is sent there.
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    match socket.local_addr().ok()?.ip() {
        IpAddr::V4(address) if address.is_private() => Some(address),
        _ => None,
    }
}

/// The address from which this host would talk to the tailnet's own resolver.
///
/// Connecting a UDP socket only consults the routing table; nothing is sent.
pub fn tailnet_address() -> Option<Ipv4Addr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((Ipv4Addr::new(100, 100, 100, 100), 53)).ok()?;
    match socket.local_addr().ok()?.ip() {
        IpAddr::V4(address) if address.octets()[0] == 100 && address.octets()[1] & 0xC0 == 64 => {
            Some(address)
        }
        _ => None,
    }
}
