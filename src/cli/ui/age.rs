//! Durations as people read them.

/// `just now`, `5m ago`, `3h ago`, `2d ago`.
pub fn ago(ms: u64) -> String {
    if ms < 60_000 { "just now".to_owned() } else { format!("{} ago", short(ms)) }
}

/// `12s`, `5m`, `3h`, `2d`.
pub fn short(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_cut_to_their_largest_unit() {
        for (ms, text) in
            [(0, "0s"), (59_999, "59s"), (60_000, "1m"), (7_200_000, "2h"), (172_800_000, "2d")]
        {
            assert_eq!(short(ms), text);
        }
        assert_eq!(ago(5_000), "just now");
        assert_eq!(ago(120_000), "2m ago");
    }
}
