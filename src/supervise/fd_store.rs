//! The service manager's file descriptor store: a descriptor that lies in it
//! outlives this process, and the next one finds it among the inherited ones.

use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::os::unix::net::{SocketAddr, UnixDatagram};

use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, sendmsg};

use crate::profile::env::Env;

/// How many descriptors the units let the manager store (`FileDescriptorStoreMax=`).
pub const CAPACITY: &str = "128";
/// Says so to this process; managers before systemd 254 do not set `FDSTORE`.
pub const VARIABLE: &str = "OPENCLAW_FD_STORE";

/// The way to the store.
#[derive(Debug)]
pub struct FdStore {
    manager: UnixDatagram,
    capacity: usize,
}

impl FdStore {
    /// `None` when there is no manager, or it stores nothing for this service.
    pub fn from_env(env: &Env) -> Option<Self> {
        let capacity = env.get("FDSTORE").or_else(|| env.get(VARIABLE))?.parse().ok()?;
        let manager = connect(env.get("NOTIFY_SOCKET")?)
            .inspect_err(|err| tracing::debug!(%err, "no way to the descriptor store"))
            .ok()?;
        (capacity > 0).then_some(Self { manager, capacity })
    }

    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Stores a second handle of `fd` under `name`. False when the manager is
    /// too busy to take it at once.
    pub fn put(&self, fd: BorrowedFd<'_>, name: &str) -> bool {
        let fds = [fd.as_raw_fd()];
        self.send(&format!("FDSTORE=1\nFDNAME={name}\n"), &[ControlMessage::ScmRights(&fds)])
    }

    /// Has the manager close what it stores under `name`.
    pub fn remove(&self, name: &str) {
        self.send(&format!("FDSTOREREMOVE=1\nFDNAME={name}\n"), &[]);
    }

    fn send(&self, text: &str, with: &[ControlMessage<'_>]) -> bool {
        let parts = [IoSlice::new(text.as_bytes())];
        let socket = self.manager.as_raw_fd();
        // Never waits: this is asked for while a client waits for its answer.
        let sent = sendmsg::<UnixAddr>(socket, &parts, with, MsgFlags::MSG_DONTWAIT, None);
        if let Err(err) = &sent {
            tracing::debug!(%err, "the descriptor store does not answer");
        }
        sent.is_ok()
    }
}

fn connect(address: &str) -> io::Result<UnixDatagram> {
    let address = match address.strip_prefix('@') {
        #[cfg(target_os = "linux")]
        Some(name) => {
            use std::os::linux::net::SocketAddrExt as _;
            SocketAddr::from_abstract_name(name)?
        }
        _ => SocketAddr::from_pathname(address)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::fd::AsFd as _;

    use super::*;

    #[test]
    fn a_descriptor_is_stored_and_removed_by_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        let mut env = Env::default();
        env.set("NOTIFY_SOCKET", path.to_str().unwrap());
        assert!(FdStore::from_env(&env).is_none(), "the manager stores nothing");
        env.set(VARIABLE, CAPACITY);
        let store = FdStore::from_env(&env).unwrap();
        let stored = TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(store.put(stored.as_fd(), "one"));
        store.remove("one");
        let mut said = [0; 200];
        let length = manager.recv(&mut said).unwrap();
        assert_eq!(&said[..length], b"FDSTORE=1\nFDNAME=one\n");
        let length = manager.recv(&mut said).unwrap();
        assert_eq!(&said[..length], b"FDSTOREREMOVE=1\nFDNAME=one\n");
    }
}
