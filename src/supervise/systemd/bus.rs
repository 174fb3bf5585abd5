//! Asks a systemd manager for properties over its own socket: no child process,
//! a few milliseconds, and never longer than the limit. It only reads; changes
//! go through `systemctl` (`docs/adr/005-manager-socket.md`).

use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};

use crate::base::hex;
use crate::supervise::systemd::wire::{self, Call, Kind, Message, Value};

/// Longest wait for all answers together.
pub const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// Longest line of the sign-in.
const MAX_LINE: usize = 512;

const MANAGER: &str = "org.freedesktop.systemd1";
const BUS: &str = "org.freedesktop.DBus";

/// Where a manager listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub path: PathBuf,
    /// Behind a message bus, which wants a greeting first.
    pub on_bus: bool,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    #[error("{}: {source}", path.display())]
    Unreachable {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} did not answer within {} s", path.display(), limit.as_secs())]
    Silent { path: PathBuf, limit: Duration },
    #[error("{}: {problem}", path.display())]
    Broken { path: PathBuf, problem: String },
}

/// All properties of each unit, in the order asked for.
pub fn properties(
    place: &Place,
    units: &[&str],
    limit: Duration,
) -> Result<Vec<Vec<(String, String)>>, BusError> {
    let mut link = Link::open(place, limit)?;
    units.iter().map(|unit| link.properties(unit)).collect()
}

struct Link<'a> {
    place: &'a Place,
    stream: UnixStream,
    limit: Duration,
    until: Instant,
    serial: u32,
}

impl<'a> Link<'a> {
    fn open(place: &'a Place, limit: Duration) -> Result<Self, BusError> {
        let unreachable = |source| BusError::Unreachable { path: place.path.clone(), source };
        let stream = dial(&place.path).map_err(unreachable)?;
        let until = Instant::now() + limit;
        let mut link = Self { place, stream, limit, until, serial: 0 };
        link.sign_in()?;
        if place.on_bus {
            link.call(&Call {
                destination: BUS,
                path: "/org/freedesktop/DBus",
                interface: BUS,
                member: "Hello",
                args: &[],
            })?;
        }
        Ok(link)
    }

    /// The other side knows who we are; the line only has to claim it.
    fn sign_in(&mut self) -> Result<(), BusError> {
        let uid = nix::unistd::geteuid().to_string();
        let hex = hex::encode(uid.as_bytes());
        // In one go: systemd's own socket says nothing before it has seen the end.
        self.send(format!("\0AUTH EXTERNAL {hex}\r\nBEGIN\r\n").as_bytes())?;
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            let mut byte = [0];
            self.fill(&mut byte)?;
            line.extend(byte);
            if line.len() > MAX_LINE {
                return Err(self.broken("the sign-in line does not end"));
            }
        }
        if line.starts_with(b"OK ") { Ok(()) } else { Err(self.broken("the sign-in was refused")) }
    }

    fn properties(&mut self, unit: &str) -> Result<Vec<(String, String)>, BusError> {
        let path = wire::unit_path(unit);
        let body = self.call(&Call {
            destination: MANAGER,
            path: &path,
            interface: "org.freedesktop.DBus.Properties",
            member: "GetAll",
            // Of every interface.
            args: &[""],
        })?;
        let Some(Value::Map(map)) = body.into_iter().next() else {
            return Err(self.broken("the answer holds no properties"));
        };
        Ok(map.into_iter().filter_map(|(key, value)| Some((key, value.shown()?))).collect())
    }

    fn call(&mut self, call: &Call<'_>) -> Result<Vec<Value>, BusError> {
        self.serial += 1;
        self.send(&wire::encode(call, self.serial))?;
        loop {
            let message = self.receive()?;
            if message.answers != Some(self.serial) {
                continue;
            }
            return match message.kind {
                Kind::Return => Ok(message.body),
                _ => Err(self.broken(&refusal(&message))),
            };
        }
    }

    fn receive(&mut self) -> Result<Message, BusError> {
        let mut fixed = [0; wire::FIXED];
        self.fill(&mut fixed)?;
        let size = wire::size(&fixed).map_err(|err| self.broken(&err.to_string()))?;
        let mut bytes = vec![0; size];
        bytes[..wire::FIXED].copy_from_slice(&fixed);
        self.fill(&mut bytes[wire::FIXED..])?;
        wire::decode(&bytes).map_err(|err| self.broken(&err.to_string()))
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), BusError> {
        let sent = self
            .remaining()
            .and_then(|left| self.stream.set_write_timeout(Some(left)))
            .and_then(|()| self.stream.write_all(bytes));
        sent.map_err(|err| self.failed(&err))
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), BusError> {
        let mut known = 0;
        while known < buffer.len() {
            let read = self
                .remaining()
                .and_then(|left| self.stream.set_read_timeout(Some(left)))
                .and_then(|()| self.stream.read(&mut buffer[known..]));
            match read {
                Ok(0) => return Err(self.broken("it hung up")),
                Ok(count) => known += count,
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(err) => return Err(self.failed(&err)),
            }
        }
        Ok(())
    }

    fn remaining(&self) -> io::Result<Duration> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
    }

    fn failed(&self, err: &io::Error) -> BusError {
        match err.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                BusError::Silent { path: self.place.path.clone(), limit: self.limit }
            }
            _ => self.broken(&err.to_string()),
        }
    }

    fn broken(&self, problem: &str) -> BusError {
        BusError::Broken { path: self.place.path.clone(), problem: problem.to_owned() }
    }
}

fn refusal(message: &Message) -> String {
    match message.body.first().and_then(Value::shown) {
        Some(text) => text,
        None => message.error.clone().unwrap_or_else(|| "it refused".to_owned()),
    }
}

/// Connects without waiting: a manager that hangs has a full queue, on which
/// the ordinary call would block for ever.
fn dial(path: &Path) -> io::Result<UnixStream> {
    let fd = socket(AddressFamily::Unix, SockType::Stream, SockFlag::empty(), None)?;
    fcntl(fd.as_raw_fd(), FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    fcntl(fd.as_raw_fd(), FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    connect(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
    let stream = UnixStream::from(fd);
    stream.set_nonblocking(false)?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::thread;

    use super::*;

    const SHORT: Duration = Duration::from_millis(100);

    fn place(path: PathBuf) -> Place {
        Place { path, on_bus: false }
    }

    #[test]
    fn a_manager_that_is_not_there_is_unreachable() {
        let dir = tempfile::tempdir().unwrap();
        let err = properties(&place(dir.path().join("private")), &["a"], SHORT).unwrap_err();
        assert!(matches!(err, BusError::Unreachable { .. }), "{err}");
    }

    #[test]
    fn a_manager_that_hangs_is_given_up() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("private");
        let listener = UnixListener::bind(&path).unwrap();
        let err = properties(&place(path), &["a"], SHORT).unwrap_err();
        assert!(matches!(err, BusError::Silent { .. }), "{err}");
        drop(listener);
    }

    #[test]
    fn a_manager_that_talks_nonsense_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("private");
        let listener = UnixListener::bind(&path).unwrap();
        let talking = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(b"OK 1234\r\nwhat is this, no D-Bus message at all").unwrap();
            // Until the other side hangs up.
            drop(stream.read_to_end(&mut Vec::new()));
        });
        let err = properties(&place(path.clone()), &["a"], ANSWER_LIMIT).unwrap_err();
        assert_eq!(err.to_string(), format!("{}: the byte order is unknown", path.display()));
        talking.join().unwrap();
    }
}
