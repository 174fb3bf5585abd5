//! Who listens on a port: read from the kernel's socket tables and the
//! descriptors of running processes, without starting any program.
//!
//! On systems without `/proc` only "free" and "busy" can be told.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

/// One listening socket with its owner, as far as it can be seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    pub address: SocketAddr,
    pub inode: u64,
    pub owners: Vec<Owner>,
}

/// A process that holds a listening socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    pub pid: i32,
    pub parent: i32,
    pub user: String,
    pub uid: u32,
    /// The kernel's short name, at most 15 bytes.
    pub command: String,
    pub command_line: String,
    /// `None` when the process belongs to somebody else.
    pub executable: Option<PathBuf>,
    /// The last component of its control group, for example `x.service`.
    pub unit: Option<String>,
}

impl Owner {
    /// Reads what `/proc` tells about a process.
    pub fn of(pid: i32) -> Option<Self> {
        read_owner(Path::new("/proc"), pid)
    }

    /// Whether this is an OpenClaw gateway of this user: judged by the program
    /// that runs and by its kernel name, not by words in its arguments.
    pub fn is_own_gateway(&self) -> bool {
        self.uid == nix::unistd::geteuid().as_raw() && self.is_gateway()
    }

    /// Whether the program is an OpenClaw binary or names itself one.
    pub fn is_gateway(&self) -> bool {
        let program = self.executable.as_deref().and_then(Path::file_name);
        program.is_some_and(|name| name.to_string_lossy().starts_with("openclaw"))
            || self.command.starts_with("openclaw")
    }

    /// Whether this is the service manager holding a socket for a service.
    pub fn is_service_manager(&self) -> bool {
        matches!(self.command.as_str(), "systemd" | "launchd" | "init")
    }
}

/// What is known about a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PortUse {
    Free,
    Busy(Vec<Listener>),
    /// Neither the kernel's tables nor a trial bind gave an answer.
    Unknown,
}

/// Looks who listens on `port`, on any address.
pub fn inspect(port: u16) -> PortUse {
    match listening(Path::new("/proc"), port) {
        Ok(found) if found.is_empty() => PortUse::Free,
        Ok(found) => PortUse::Busy(found),
        Err(_) => probe_by_binding(port),
    }
}

/// The unit name in a `/proc/PID/cgroup` text.
pub fn unit_of_cgroup(text: &str) -> Option<String> {
    let path = text.lines().find_map(|line| line.strip_prefix("0::"))?;
    path.rsplit('/')
        .find(|part| matches!(part.rsplit_once('.'), Some((_, "service" | "scope"))))
        .map(str::to_owned)
}

fn probe_by_binding(port: u16) -> PortUse {
    let mut tried = false;
    for host in [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)] {
        let address = SocketAddr::new(host, port);
        match TcpListener::bind(address) {
            Ok(_) => tried = true,
            Err(err) if err.kind() == io::ErrorKind::AddrInUse => {
                return PortUse::Busy(vec![Listener { address, inode: 0, owners: Vec::new() }]);
            }
            Err(_) => {}
        }
    }
    if tried { PortUse::Free } else { PortUse::Unknown }
}

fn listening(proc: &Path, port: u16) -> io::Result<Vec<Listener>> {
    let mut found = parse_table(&fs::read_to_string(proc.join("net/tcp"))?, port);
    if let Ok(table) = fs::read_to_string(proc.join("net/tcp6")) {
        found.extend(parse_table(&table, port));
    }
    if !found.is_empty() {
        let inodes: HashSet<u64> = found.iter().map(|listener| listener.inode).collect();
        for (pid, inode) in holders(proc, &inodes) {
            let Some(owner) = read_owner(proc, pid) else { continue };
            for listener in found.iter_mut().filter(|listener| listener.inode == inode) {
                listener.owners.push(owner.clone());
            }
        }
    }
    Ok(found)
}

/// The listening rows of a kernel socket table.
fn parse_table(text: &str, port: u16) -> Vec<Listener> {
    const LISTEN: &str = "0A";
    text.lines()
        .skip(1)
        .filter_map(|row| {
            let mut columns = row.split_whitespace();
            let (local, _remote, state) = (columns.nth(1)?, columns.next()?, columns.next()?);
            let inode = columns.nth(5)?.parse().ok()?;
            let address = parse_address(local)?;
            (state == LISTEN && address.port() == port).then(|| Listener {
                address,
                inode,
                owners: Vec::new(),
            })
        })
        .collect()
}

/// `0100007F:4965`: groups of four bytes in the machine's byte order.
fn parse_address(text: &str) -> Option<SocketAddr> {
    let (host, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let words: Vec<[u8; 4]> = (0..host.len())
        .step_by(8)
        .map(|at| u32::from_str_radix(host.get(at..at + 8)?, 16).ok().map(u32::to_ne_bytes))
        .collect::<Option<_>>()?;
    let host = match words.as_slice() {
        [v4] => IpAddr::from(*v4),
        [a, b, c, d] => {
            let bytes: Vec<u8> = [a, b, c, d].into_iter().flatten().copied().collect();
            IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?)
        }
        _ => return None,
    };
    Some(SocketAddr::new(host, port))
}

fn holders(proc: &Path, inodes: &HashSet<u64>) -> Vec<(i32, u64)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(proc).into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let mut held = HashSet::new();
        for fd in fs::read_dir(entry.path().join("fd")).into_iter().flatten().flatten() {
            let Ok(target) = fs::read_link(fd.path()) else { continue };
            let inode = target
                .to_str()
                .and_then(|name| name.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok());
            held.extend(inode.filter(|inode| inodes.contains(inode)));
        }
        found.extend(held.into_iter().map(|inode| (pid, inode)));
    }
    found
}

fn read_owner(proc: &Path, pid: i32) -> Option<Owner> {
    let dir = proc.join(pid.to_string());
    let status = fs::read_to_string(dir.join("status")).ok()?;
    let field = |name: &str| {
        status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim).unwrap_or_default()
    };
    let uid: u32 = field("Uid:").split_whitespace().nth(1)?.parse().ok()?;
    let arguments = fs::read(dir.join("cmdline")).unwrap_or_default();
    let command_line =
        String::from_utf8_lossy(&arguments).trim_end_matches('\0').replace('\0', " ");
    let user = nix::unistd::User::from_uid(uid.into()).ok().flatten();
    Some(Owner {
        pid,
        parent: field("PPid:").parse().unwrap_or(0),
        user: user.map_or_else(|| uid.to_string(), |user| user.name),
        uid,
        command: field("Name:").to_owned(),
        command_line,
        executable: fs::read_link(dir.join("exe")).ok(),
        unit: fs::read_to_string(dir.join("cgroup")).ok().and_then(|text| unit_of_cgroup(&text)),
    })
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn our_own_listener_is_found_with_its_owner() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let PortUse::Busy(found) = inspect(address.port()) else { panic!("not busy") };
        let own = found.iter().find(|found| found.address == address).unwrap();
        let me = i32::try_from(std::process::id()).unwrap();
        assert!(own.owners.iter().any(|owner| owner.pid == me), "{own:?}");
    }

    #[test]
    fn ipv6_listeners_are_found_too() {
        let listener = TcpListener::bind("[::1]:0").unwrap();
        let address = listener.local_addr().unwrap();
        let PortUse::Busy(found) = inspect(address.port()) else { panic!("not busy") };
        assert!(found.iter().any(|found| found.address == address));
    }

    #[test]
    fn a_released_port_is_free() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        assert_eq!(inspect(port), PortUse::Free);
    }

    #[test]
    fn a_control_group_names_the_unit() {
        let user =
            "0::/user.slice/user-1000.slice/user@1000.service/app.slice/openclaw-gateway.service\n";
        assert_eq!(unit_of_cgroup(user).as_deref(), Some("openclaw-gateway.service"));
        assert_eq!(unit_of_cgroup("0::/\n"), None);
        assert_eq!(
            unit_of_cgroup("1:name=systemd:/x\n0::/system.slice/a.service/sub\n").as_deref(),
            Some("a.service")
        );
    }

    #[test]
    fn a_program_is_known_by_its_file_not_by_its_arguments() {
        let mut owner = Owner {
            pid: 1,
            parent: 0,
            user: "claw".into(),
            uid: nix::unistd::geteuid().as_raw(),
            command: "python3".into(),
            command_line: "python3 openclaw gateway".into(),
            executable: Some("/usr/bin/python3".into()),
            unit: None,
        };
        assert!(!owner.is_own_gateway());
        owner.executable = Some("/usr/bin/openclaw".into());
        assert!(owner.is_own_gateway());
        owner.uid += 1;
        assert!(!owner.is_own_gateway());
    }
}
