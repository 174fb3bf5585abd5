//! Durations and sizes as people write them: `30m`, `1h30m`, `512kb`.

/// Milliseconds of a duration; a bare number counts in `unit`.
pub fn parse_ms(text: &str, unit: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let mut rest = text.as_str();
    let mut total = 0.0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let (number, tail) = split_number(rest)?;
        let end = tail.find(|next: char| !next.is_ascii_alphabetic()).unwrap_or(tail.len());
        let name = if end == 0 { unit } else { &tail[..end] };
        if end == 0 && !tail.is_empty() {
            return None;
        }
        let factor = match name {
            "ms" => 1.0,
            "s" => 1e3,
            "m" => 60e3,
            "h" => 3_600e3,
            "d" => 86_400e3,
            _ => return None,
        };
        total += number * factor;
        rest = &tail[end..];
    }
    whole(total)
}

/// Bytes of a size such as `2mb`; a bare number counts bytes.
pub fn parse_bytes(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let (number, unit) = split_number(&text)?;
    let power = match unit.trim() {
        "" | "b" => 0,
        "kb" | "k" => 1,
        "mb" | "m" => 2,
        "gb" | "g" => 3,
        "tb" | "t" => 4,
        _ => return None,
    };
    whole(number * 1024_f64.powi(power))
}

fn split_number(text: &str) -> Option<(f64, &str)> {
    let end = text.find(|next: char| !next.is_ascii_digit() && next != '.').unwrap_or(text.len());
    let number = text[..end].parse().ok()?;
    Some((number, &text[end..]))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "finite, not negative and below 2^53"
)]
fn whole(value: f64) -> Option<u64> {
    (value.is_finite() && (0.0..9_007_199_254_740_992.0).contains(&value))
        .then(|| value.round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_have_units() {
        assert_eq!(parse_ms("30m", "m"), Some(1_800_000));
        assert_eq!(parse_ms("1h30m", "m"), Some(5_400_000));
        assert_eq!(parse_ms("1.5s", "m"), Some(1500));
        assert_eq!(parse_ms("5", "m"), Some(300_000));
        for bad in ["", "soon", "5x", "1h 30", "-1m"] {
            assert_eq!(parse_ms(bad, "m"), None, "{bad}");
        }
        assert_eq!(parse_bytes("2mb"), Some(2_097_152));
        assert_eq!(parse_bytes("100"), Some(100));
        assert_eq!(parse_bytes("2 bananas"), None);
    }
}
