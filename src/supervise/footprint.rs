//! Memory that an idle gateway can give back: the pages of the program that
//! only the start or a past run needed, and what the allocator keeps for later.
//! They are read again, from the page cache, by whoever needs them.

use std::io;

/// A mapping of the program file of which this process has changed nothing.
#[derive(Debug, PartialEq, Eq)]
struct Mapping {
    start: usize,
    length: usize,
    /// What of it is in memory, in bytes.
    resident: usize,
}

/// Gives back what can be read again. Returns how many bytes of the program
/// file were in memory.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "only the kernel and the allocator can give pages back")]
pub fn give_back() -> io::Result<usize> {
    use std::ptr::NonNull;

    use nix::sys::mman::{MmapAdvise, madvise};

    let smaps = std::fs::read_to_string("/proc/self/smaps")?;
    let mut bytes = 0;
    for mapping in unchanged(&smaps, give_back as fn() -> io::Result<usize> as usize) {
        let Some(start) = NonNull::new(std::ptr::with_exposed_provenance_mut(mapping.start)) else {
            continue;
        };
        // SAFETY: the mapping is a private one of the program file without a
        // changed page, so every page reads the same when it is touched again.
        unsafe { madvise(start, mapping.length, MmapAdvise::MADV_DONTNEED) }?;
        bytes += mapping.resident;
    }
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes no pointer and may be called from any thread.
    unsafe {
        nix::libc::malloc_trim(0);
    }
    Ok(bytes)
}

#[cfg(not(target_os = "linux"))]
pub fn give_back() -> io::Result<usize> {
    Ok(0)
}

/// The mappings in `smaps` of the file that `address` lies in, without those
/// that may be written or have a page of their own, be it in memory or swapped
/// out: those cannot be read again.
#[cfg_attr(
    not(any(target_os = "linux", test)),
    expect(dead_code, reason = "there is no smaps elsewhere")
)]
fn unchanged(smaps: &str, address: usize) -> Vec<Mapping> {
    let mut found: Vec<(&str, Mapping)> = Vec::new();
    let mut program = None;
    for line in smaps.lines() {
        let mut words = line.split_ascii_whitespace();
        let Some(first) = words.next() else { continue };
        if let Some((start, end)) = range(first) {
            let may = words.next().unwrap_or_default();
            // Offset and device come before the inode; the path may have blanks.
            let Some(inode) = words.nth(2) else { continue };
            if (start..end).contains(&address) {
                program = Some(inode);
            }
            let length = if may.starts_with("r-") && may.ends_with('p') { end - start } else { 0 };
            found.push((inode, Mapping { start, length, resident: 0 }));
            continue;
        }
        let bytes = words.next().and_then(|word| word.parse::<usize>().ok()).unwrap_or(0) * 1024;
        let Some((_, mapping)) = found.last_mut() else { continue };
        match first {
            "Rss:" => mapping.resident = bytes,
            "Anonymous:" | "Swap:" if bytes > 0 => mapping.length = 0,
            _ => {}
        }
    }
    let ours = |inode: &str| Some(inode) == program;
    found
        .into_iter()
        .filter(|(inode, mapping)| ours(inode) && mapping.length > 0 && mapping.resident > 0)
        .map(|(_, mapping)| mapping)
        .collect()
}

fn range(word: &str) -> Option<(usize, usize)> {
    let (start, end) = word.split_once('-')?;
    Some((usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_unchanged_pages_of_the_program_are_given_back() {
        let smaps = "\
10000-14000 r--p 00000000 fe:00 77 /opt/open claw (deleted)
Rss:                   8 kB
Private_Dirty:         8 kB
Anonymous:             0 kB
14000-20000 r-xp 00004000 fe:00 77 /opt/open claw (deleted)
Rss:                  40 kB
Anonymous:             0 kB
VmFlags: rd ex mr mw me
20000-21000 r--p 00010000 fe:00 77 /opt/open claw (deleted)
Rss:                   4 kB
Anonymous:             4 kB
21000-21800 r--p 00010800 fe:00 77 /opt/open claw (deleted)
Rss:                   2 kB
Anonymous:             0 kB
Swap:                  4 kB
21800-22000 rw-p 00011800 fe:00 77 /opt/open claw (deleted)
Rss:                   4 kB
Anonymous:             0 kB
30000-31000 r-xp 00000000 fe:00 78 /lib/libc.so.6
Rss:                   4 kB
Anonymous:             0 kB
40000-41000 rw-p 00000000 00:00 0
Rss:                   4 kB
";
        let k = 1024;
        assert_eq!(
            unchanged(smaps, 0x15000),
            [
                Mapping { start: 0x10000, length: 0x4000, resident: 8 * k },
                Mapping { start: 0x14000, length: 0xc000, resident: 40 * k },
            ]
        );
        assert_eq!(unchanged(smaps, 0x50000), []);
        assert_eq!(unchanged("nonsense\n\n1-2\n", 1), []);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_program_goes_on_after_its_pages_were_given_back() {
        let kept: Vec<String> = (0..1000).map(|number| format!("number {number}")).collect();
        assert!(give_back().unwrap() > 0);
        assert!(give_back().unwrap() > 0, "this very function is in memory again");
        assert_eq!(kept[999], "number 999");
    }
}
