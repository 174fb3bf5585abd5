//! What the kernel knows about a TCP connection.

use std::os::fd::BorrowedFd;

/// Bytes that were ever written to the connection. `None` where that is not known.
#[cfg(target_os = "linux")]
pub fn sent(fd: BorrowedFd<'_>) -> Option<usize> {
    let info = info(fd)?;
    let once = info.tcpi_bytes_sent.checked_sub(info.tcpi_bytes_retrans)?;
    usize::try_from(once + u64::from(info.tcpi_notsent_bytes)).ok()
}

/// Whether the peer will not send any more.
#[cfg(target_os = "linux")]
pub fn peer_has_ended(fd: BorrowedFd<'_>) -> bool {
    /// `TCP_ESTABLISHED` of the kernel; all later states come after an end.
    const ESTABLISHED: u8 = 1;
    info(fd).is_none_or(|info| info.tcpi_state != ESTABLISHED)
}

#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "nix has no TCP_INFO")]
fn info(fd: BorrowedFd<'_>) -> Option<nix::libc::tcp_info> {
    use std::mem::{offset_of, size_of, zeroed};
    use std::os::fd::AsRawFd as _;

    use nix::libc::{IPPROTO_TCP, TCP_INFO, getsockopt, socklen_t, tcp_info};
    // Older kernels know fewer fields.
    const NEEDED: usize = offset_of!(tcp_info, tcpi_bytes_retrans) + size_of::<u64>();
    let mut length = socklen_t::try_from(size_of::<tcp_info>()).ok()?;
    // SAFETY: plain numbers, for which zero is a value.
    let mut info: tcp_info = unsafe { zeroed() };
    // SAFETY: the kernel writes at most `length` bytes, the size of `info`.
    let failed = unsafe {
        getsockopt(fd.as_raw_fd(), IPPROTO_TCP, TCP_INFO, (&raw mut info).cast(), &raw mut length)
    };
    (failed == 0 && usize::try_from(length).is_ok_and(|length| length >= NEEDED)).then_some(info)
}

/// No other system's manager hands over connections.
#[cfg(not(target_os = "linux"))]
pub fn sent(_fd: BorrowedFd<'_>) -> Option<usize> {
    None
}

#[cfg(not(target_os = "linux"))]
pub fn peer_has_ended(_fd: BorrowedFd<'_>) -> bool {
    false
}
