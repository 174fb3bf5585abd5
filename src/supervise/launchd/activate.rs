//! The one call into launchd: handing over the sockets it opened for this job.

#![expect(unsafe_code, reason = "launchd hands over descriptors only through its C function")]

use std::ffi::{CString, c_char, c_int};
use std::io;
use std::net::TcpListener;
use std::os::fd::FromRawFd as _;

unsafe extern "C" {
    fn launch_activate_socket(
        name: *const c_char,
        fds: *mut *mut c_int,
        count: *mut usize,
    ) -> c_int;
    fn free(pointer: *mut std::ffi::c_void);
}

/// launchd has no socket of that name for this process.
const ENOENT: c_int = 2;
/// This process is not managed by launchd.
const ESRCH: c_int = 3;

/// Returns the listeners of the plist's `Sockets` entry `name`; none when this
/// process is no launchd job or the job has no such entry.
pub fn listeners(name: &str) -> io::Result<Vec<TcpListener>> {
    let name = CString::new(name).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut fds: *mut c_int = std::ptr::null_mut();
    let mut count = 0_usize;
    // SAFETY: all three pointers are valid for the call; on success launchd
    // stores an allocated array of `count` descriptors that now belong to us.
    match unsafe { launch_activate_socket(name.as_ptr(), &raw mut fds, &raw mut count) } {
        0 => {}
        ENOENT | ESRCH => return Ok(Vec::new()),
        code => return Err(io::Error::from_raw_os_error(code)),
    }
    if fds.is_null() {
        return Ok(Vec::new());
    }
    // SAFETY: the array holds `count` descriptors, each adopted exactly once,
    // and is freed with the allocator that made it.
    unsafe {
        let listeners =
            std::slice::from_raw_parts(fds, count).iter().map(|fd| TcpListener::from_raw_fd(*fd));
        let listeners = listeners.collect();
        free(fds.cast());
        Ok(listeners)
    }
}
