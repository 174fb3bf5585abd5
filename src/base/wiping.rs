//! The allocator of this program: what is freed is overwritten first. Secrets
//! pass through parsers, headers and frames that know nothing of secrets; so a
//! copy is wiped by whoever frees it, not by whoever made it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::mem::MaybeUninit;

use zeroize::Zeroize as _;

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
            std::slice::from_raw_parts_mut(block.cast::<MaybeUninit<u8>>(), layout.size())
                .zeroize();
            System.dealloc(block, layout);
        }
    }
}
