//! Which protocol a connection speaks.

/// The lowest version served.
pub const OLDEST: u64 = 3;
/// The highest version served; a refused client is told this number.
pub const NEWEST: u64 = 4;

/// The highest version in the client's range that is served.
pub fn negotiate(min: u64, max: u64) -> Option<u64> {
    let version = max.min(NEWEST);
    (version >= OLDEST && min <= version).then_some(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_common_version_is_chosen() {
        let cases = [
            ((3, 3), Some(3)),
            ((4, 4), Some(4)),
            ((3, 4), Some(4)),
            ((1, 9), Some(4)),
            ((1, 3), Some(3)),
            ((1, 2), None),
            ((5, 9), None),
            ((4, 3), None),
        ];
        for ((min, max), expected) in cases {
            assert_eq!(negotiate(min, max), expected, "{min}..{max}");
        }
    }
}
