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

/// The address from which this host would talk to another. Connecting a UDP
/// socket only consults the routing table; nothing is sent.
fn address_towards(far: IpAddr) -> Option<IpAddr> {
    let any: IpAddr = match far {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect((far, 9)).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

/// The private address from which this host would talk to others.
pub fn lan_address() -> Option<Ipv4Addr> {
    // The far end is an address that documentation has for itself.
    match address_towards(Ipv4Addr::new(192, 0, 2, 1).into())? {
        IpAddr::V4(address) if address.is_private() => Some(address),
        _ => None,
    }
}

/// Whether an address is one of this host's own.
pub fn is_this_host(address: IpAddr) -> bool {
    // Whoever talks to himself does so from the address he talks to.
    address.is_loopback() || address_towards(address) == Some(address)
}

/// The address from which this host would talk to the tailnet's own resolver.
pub fn tailnet_address() -> Option<Ipv4Addr> {
    match address_towards(Ipv4Addr::new(100, 100, 100, 100).into())? {
        IpAddr::V4(address) if address.octets()[0] == 100 && address.octets()[1] & 0xC0 == 64 => {
            Some(address)
        }
        _ => None,
    }
}
