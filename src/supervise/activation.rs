//! Listening sockets that the service manager opened for us. They are taken
//! once, before the runtime starts, and are never closed or bound again: their
//! addresses beat every flag and setting.
//!
//! On Linux `libsystemd` receives them; names are only a hint, because a
//! manager that passes none leaves the named list empty.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};

use nix::fcntl::FcntlArg;
use serde::Serialize;

use crate::profile::env::Env;

/// Why the inherited sockets cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ActivationError {
    #[error("the service manager's sockets cannot be received: {0}")]
    Receive(String),
    #[error("inherited socket {index} is not a listening TCP socket")]
    NotListening {
        index: usize,
        #[source]
        source: io::Error,
    },
    #[error("none of the {count} inherited sockets is a TCP socket")]
    NoTcp { count: usize },
}

/// Whether a socket unit started this process.
pub fn is_activated(env: &Env) -> bool {
    let own_pid = std::process::id().to_string();
    env.get("LISTEN_PID") == Some(own_pid.as_str()) && env.get("LISTEN_FDS").is_some()
}

/// What the service manager passed.
#[derive(Debug, Default)]
pub struct Inherited {
    /// Non-blocking.
    pub listeners: Vec<TcpListener>,
    pub unfinished: Vec<Unfinished>,
}

/// A connection whose handshake a killed process did not finish.
#[derive(Debug)]
pub struct Unfinished {
    pub stream: TcpStream,
    /// Of the challenge that the client has got or gets.
    pub nonce: String,
}

impl Unfinished {
    /// A second handle, for one attempt.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { stream: self.stream.try_clone()?, nonce: self.nonce.clone() })
    }
}

const HANDSHAKE: &str = "handshake-";

/// What the connection is called while the manager stores it.
pub fn handshake_name(nonce: &str) -> String {
    format!("{HANDSHAKE}{nonce}")
}

/// Returns the inherited TCP sockets; none when there are none.
///
/// `LISTEN_PID` must name this process: a child of an activated service
/// inherits the variables but not the right to the sockets.
#[cfg(target_os = "linux")]
pub fn inherited(env: &Env) -> Result<Inherited, ActivationError> {
    use libsystemd::activation::{self, IsType as _};

    if !is_activated(env) {
        return Ok(Inherited::default());
    }
    let fds = activation::receive_descriptors(false)
        .map_err(|err| ActivationError::Receive(err.to_string()))?;
    let count = fds.len();
    let mut names = env.get("LISTEN_FDNAMES").unwrap_or_default().split(':');
    let mut inherited = Inherited::default();
    for (index, fd) in fds.into_iter().enumerate() {
        let nonce = names.next().and_then(|name| name.strip_prefix(HANDSHAKE));
        if !fd.is_inet() {
            continue;
        }
        let socket = adopt(fd);
        if let Some(nonce) = nonce {
            let (stream, nonce) = (TcpStream::from(socket), nonce.to_owned());
            inherited.unfinished.push(Unfinished { stream, nonce });
            continue;
        }
        let listener = TcpListener::from(socket);
        let ready = listener.set_nonblocking(true).and_then(|()| is_listening(&listener));
        ready.map_err(|source| ActivationError::NotListening { index, source })?;
        inherited.listeners.push(listener);
    }
    if count > 0 && inherited.listeners.is_empty() {
        return Err(ActivationError::NoTcp { count });
    }
    Ok(inherited)
}

#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "adopting descriptors inherited from the service manager")]
fn adopt(fd: libsystemd::activation::FileDescriptor) -> std::os::fd::OwnedFd {
    use std::os::fd::{FromRawFd as _, IntoRawFd as _};
    // SAFETY: the manager passed this descriptor to this process alone, and
    // `into_raw_fd` gives up the only handle to it.
    unsafe { std::os::fd::OwnedFd::from_raw_fd(fd.into_raw_fd()) }
}

#[cfg(target_os = "linux")]
fn is_listening(listener: &TcpListener) -> io::Result<()> {
    use nix::sys::socket::{getsockopt, sockopt};
    let listening = getsockopt(listener, sockopt::AcceptConn).map_err(io::Error::from)?;
    let kind = getsockopt(listener, sockopt::SockType).map_err(io::Error::from)?;
    if listening && kind == nix::sys::socket::SockType::Stream {
        listener.local_addr().map(|_| ())
    } else {
        Err(io::ErrorKind::InvalidInput.into())
    }
}

/// Returns the listeners that launchd opened under the name `gateway`.
#[cfg(target_os = "macos")]
pub fn inherited(env: &Env) -> Result<Inherited, ActivationError> {
    if env.get("OPENCLAW_LAUNCHD_LABEL").is_none() && env.get("XPC_SERVICE_NAME").is_none() {
        return Ok(Inherited::default());
    }
    let listeners = crate::supervise::launchd::activate::listeners("gateway")
        .map_err(|err| ActivationError::Receive(err.to_string()))?;
    for (index, listener) in listeners.iter().enumerate() {
        listener
            .set_nonblocking(true)
            .map_err(|source| ActivationError::NotListening { index, source })?;
    }
    Ok(Inherited { listeners, unfinished: Vec::new() })
}

/// Other systems hand over nothing.
#[cfg(not(any(target_os = "linux", target_os = "macos")))]
pub fn inherited(_env: &Env) -> Result<Inherited, ActivationError> {
    Ok(Inherited::default())
}

/// The name under which a process hands its listeners to itself.
const OWN: &str = "kept";

/// Whether the inherited listeners come from this very process, which started
/// over, and not from a service manager.
pub fn is_own(env: &Env) -> bool {
    env.get("LISTEN_FDNAMES").is_some_and(|names| names.split(':').all(|name| name == OWN))
}

/// Puts `listeners` where a program that this process becomes finds them, and
/// returns the variables that tell it so. Nothing else may use descriptors any
/// more: what lies at the first numbers is replaced.
pub fn hand_over(listeners: &[TcpListener]) -> io::Result<Vec<(&'static str, String)>> {
    use std::os::fd::AsRawFd as _;
    const FIRST: i32 = 3;
    // Out of the way first, so that none is overwritten by its neighbour.
    let moved: Vec<i32> = listeners
        .iter()
        .map(|listener| nix::fcntl::fcntl(listener.as_raw_fd(), FcntlArg::F_DUPFD_CLOEXEC(64)))
        .collect::<Result<_, _>>()?;
    for (place, fd) in (FIRST..).zip(&moved) {
        // The copy survives an exec; its original does not.
        nix::unistd::dup2(*fd, place)?;
    }
    if moved.is_empty() {
        return Ok(Vec::new());
    }
    Ok(vec![
        ("LISTEN_PID", std::process::id().to_string()),
        ("LISTEN_FDS", moved.len().to_string()),
        ("LISTEN_FDNAMES", vec![OWN; moved.len()].join(":")),
    ])
}

/// The manager's addresses, when none of them is what was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error(
    "the service manager's sockets are {}, flags and configuration ask for {}; the sockets win (to change them: openclaw gateway install --force)",
    join(inherited),
    join(wanted)
)]
pub struct Mismatch {
    pub inherited: Vec<SocketAddr>,
    pub wanted: Vec<SocketAddr>,
}

fn join(addresses: &[SocketAddr]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Where inherited sockets listen.
pub fn addresses(listeners: &[TcpListener]) -> Vec<SocketAddr> {
    listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect()
}

/// Compares what was inherited with what flags and configuration ask for. An
/// address the manager serves in addition is no mismatch, a missing one is.
pub fn mismatch(inherited: &[SocketAddr], wanted: &[SocketAddr]) -> Option<Mismatch> {
    let served = |want: &SocketAddr| {
        inherited
            .iter()
            .any(|have| have == want || (have.port() == want.port() && have.ip().is_unspecified()))
    };
    (!wanted.iter().any(served))
        .then(|| Mismatch { inherited: inherited.to_vec(), wanted: wanted.to_vec() })
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn sockets_meant_for_another_process_are_left_alone() {
        let env: Env =
            [("LISTEN_PID", "1"), ("LISTEN_FDS", "2"), ("LISTEN_FDNAMES", "gateway:gateway")]
                .into_iter()
                .collect();
        assert!(inherited(&env).unwrap().listeners.is_empty());
        assert!(inherited(&Env::default()).unwrap().listeners.is_empty());
    }

    #[test]
    fn a_bound_socket_that_does_not_listen_is_refused() {
        let listening = TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(is_listening(&listening).is_ok());
        let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let pretending = TcpListener::from(std::os::fd::OwnedFd::from(udp));
        assert!(is_listening(&pretending).is_err());
    }

    #[test]
    fn a_wildcard_socket_serves_a_loopback_address() {
        let any = TcpListener::bind("0.0.0.0:0").unwrap();
        let port = any.local_addr().unwrap().port();
        let wanted = [SocketAddr::from(([127, 0, 0, 1], port))];
        let any = addresses(&[any]);
        assert_eq!(mismatch(&any, &wanted), None);
        let other = [SocketAddr::from(([127, 0, 0, 1], port.wrapping_add(1)))];
        let text = mismatch(&any, &other).unwrap().to_string();
        assert!(text.contains(&format!("sockets are 0.0.0.0:{port}")), "{text}");
    }
}
