//! The allocator of this program: what is freed is overwritten first. Secrets
//! pass through parsers, headers and frames that know nothing of secrets; so a
//! copy is wiped by whoever frees it, not by whoever made it.

use std::alloc::{GlobalAlloc, Layout, System};

#[derive(Debug)]
struct Wiping;

#[global_allocator]
static ALLOCATOR: Wiping = Wiping;

// `realloc` is the trait's own: it moves to a new block and frees the old one
// here, where the system's would leave a copy behind.
#[expect(unsafe_code, reason = "an allocator has no safe form")]
// SAFETY: every block comes from the system's allocator and goes back to it
// with the layout it was asked for.
unsafe impl GlobalAlloc for Wiping {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps to the same contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps to the same contract.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller gives up the block, which is at least this large.
        unsafe {
            wipe(block, layout.size());
            System.dealloc(block, layout);
        }
    }
}

/// As fast as `memset`, and never left out as a write that nobody reads.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "memory by its address")]
unsafe fn wipe(block: *mut u8, size: usize) {
    // SAFETY: the caller owns `size` bytes there.
    unsafe { nix::libc::explicit_bzero(block.cast(), size) }
}

#[cfg(not(target_os = "linux"))]
#[expect(unsafe_code, reason = "memory by its address")]
unsafe fn wipe(block: *mut u8, size: usize) {
    use zeroize::Zeroize as _;
    // SAFETY: the caller owns `size` bytes there.
    unsafe { std::slice::from_raw_parts_mut(block.cast::<std::mem::MaybeUninit<u8>>(), size) }
        .zeroize();
}
