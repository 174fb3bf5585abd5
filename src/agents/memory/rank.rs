//! From findings to a list: scores between 0 and 1, by words and by meaning.

use std::collections::{BTreeSet, HashMap};

use crate::agents::memory::settings::Hybrid;

/// A passage that was found, with what is known of its worth.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Finding {
    pub id: i64,
    pub name: String,
    pub first: u64,
    pub last: u64,
    pub text: String,
    pub score: f64,
}

/// The score for a rank of `bm25`, which is lower for better matches.
pub(crate) fn text_score(rank: f64) -> f64 {
    if rank.is_finite() && rank < 0.0 { -rank / (1.0 - rank) } else { 0.001 }
}

/// Words worth searching for.
pub(crate) fn words(text: &str) -> BTreeSet<String> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_')
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect()
}

/// Pieces of a query that are looked for.
const MOST_PIECES: usize = 32;

/// Pairs of neighbours in what is written without spaces: no word of it can be
/// told from the next.
pub(crate) fn pieces(text: &str) -> Vec<String> {
    let mut pieces = BTreeSet::new();
    for run in text.split(|c: char| !is_unspaced(c)) {
        let letters: Vec<char> = run.chars().collect();
        match letters.len() {
            0 => {}
            1 => drop(pieces.insert(run.to_owned())),
            _ => pieces.extend(letters.windows(2).map(|pair| pair.iter().collect::<String>())),
        }
    }
    pieces.into_iter().take(MOST_PIECES).collect()
}

/// Thai to Khmer, kana, Han; Hangul, too, whose words run on into particles.
fn is_unspaced(c: char) -> bool {
    matches!(
        c,
        '\u{0e00}'..='\u{0eff}'
            | '\u{1000}'..='\u{109f}'
            | '\u{1780}'..='\u{17ff}'
            | '\u{3040}'..='\u{30ff}'
            | '\u{3400}'..='\u{4dbf}'
            | '\u{4e00}'..='\u{9fff}'
            | '\u{ac00}'..='\u{d7af}'
            | '\u{f900}'..='\u{faff}'
            | '\u{20000}'..='\u{3ffff}'
    )
}

/// Joins findings by meaning and by words, best first.
pub(crate) fn merge(
    by_meaning: Vec<Finding>,
    by_words: Vec<Finding>,
    hybrid: &Hybrid,
) -> Vec<Finding> {
    let mut all: HashMap<i64, Finding> = HashMap::new();
    let weighted = [(by_meaning, hybrid.vector_weight), (by_words, hybrid.text_weight)];
    for (findings, weight) in weighted {
        for finding in findings {
            let score = finding.score * weight;
            let known = all.entry(finding.id).or_insert(Finding { score: 0.0, ..finding });
            known.score += score;
        }
    }
    sorted(all.into_values().collect())
}

/// Best first; equal ones by place, so that an answer repeats.
pub(crate) fn sorted(mut findings: Vec<Finding>) -> Vec<Finding> {
    findings.sort_by(|a, b| {
        b.score.total_cmp(&a.score).then_with(|| (&a.name, a.first).cmp(&(&b.name, b.first)))
    });
    findings
}

/// Lets notes that carry a date in their name (`2026-11-28.md`) fade; others
/// are taken as always valid. `today` is in days since the epoch.
pub(crate) fn decay(mut findings: Vec<Finding>, half_life: f64, today: f64) -> Vec<Finding> {
    for finding in &mut findings {
        if let Some(day) = day_of(&finding.name) {
            let age = (today - day).max(0.0);
            finding.score *= 0.5_f64.powf(age / half_life.max(0.1));
        }
    }
    sorted(findings)
}

fn day_of(name: &str) -> Option<f64> {
    let stem = std::path::Path::new(name).file_stem()?.to_str()?;
    let date: jiff::civil::Date = stem.get(..10)?.parse().ok()?;
    let since = date.since(jiff::civil::date(1970, 1, 1)).ok()?;
    Some(f64::from(since.get_days()))
}

/// Picks `most` findings, each the best by relevance less likeness to those
/// picked before (maximal marginal relevance).
pub(crate) fn diverse(findings: Vec<Finding>, lambda: f64, most: usize) -> Vec<Finding> {
    let mut left: Vec<(BTreeSet<String>, Finding)> =
        findings.into_iter().map(|finding| (words(&finding.text), finding)).collect();
    let mut picked: Vec<(BTreeSet<String>, Finding)> = Vec::new();
    while picked.len() < most && !left.is_empty() {
        let worth = |(own, finding): &(BTreeSet<String>, Finding)| {
            let like = picked.iter().map(|(other, _)| likeness(own, other)).fold(0.0, f64::max);
            lambda * finding.score - (1.0 - lambda) * like
        };
        let best = (0..left.len())
            .max_by(|a, b| worth(&left[*a]).total_cmp(&worth(&left[*b])).then_with(|| b.cmp(a)));
        if let Some(best) = best {
            let next = left.remove(best);
            picked.push(next);
        }
    }
    picked.into_iter().map(|(_, finding)| finding).collect()
}

/// The share of words that two passages have in common.
#[expect(clippy::cast_precision_loss, reason = "counts of words")]
fn likeness(one: &BTreeSet<String>, other: &BTreeSet<String>) -> f64 {
    let common = one.intersection(other).count();
    let all = one.len() + other.len() - common;
    if all == 0 { 0.0 } else { common as f64 / all as f64 }
}

/// A vector of length 1, as it is stored; likeness is then a plain product.
#[expect(clippy::cast_possible_truncation, reason = "single precision is enough to compare by")]
pub(crate) fn unit(vector: &[f64]) -> Vec<f32> {
    let length = vector.iter().map(|x| x * x).sum::<f64>().sqrt();
    let length = if length > 0.0 { length } else { 1.0 };
    vector.iter().map(|x| (x / length) as f32).collect()
}

pub(crate) fn bytes(vector: &[f32]) -> Vec<u8> {
    vector.iter().flat_map(|x| x.to_le_bytes()).collect()
}

/// The cosine of two unit vectors, the second as stored; 0 if they do not fit.
pub(crate) fn cosine(one: &[f32], stored: &[u8]) -> f64 {
    if one.len() * 4 != stored.len() {
        return 0.0;
    }
    let (parts, _) = stored.as_chunks::<4>();
    let pairs = one.iter().zip(parts);
    f64::from(pairs.map(|(x, y)| x * f32::from_le_bytes(*y)).sum::<f32>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(id: i64, name: &str, text: &str, score: f64) -> Finding {
        let name = name.to_owned();
        Finding { id, name, first: 1, last: 2, text: text.to_owned(), score }
    }

    const HYBRID: Hybrid = Hybrid {
        enabled: true,
        vector_weight: 0.7,
        text_weight: 0.3,
        candidates: 4,
        half_life_days: None,
        diversity: None,
    };

    #[test]
    fn what_both_ways_find_comes_before_what_one_finds() {
        let meaning = vec![finding(1, "a.md", "x", 0.8), finding(2, "b.md", "y", 0.8)];
        let words = vec![finding(2, "b.md", "y", 0.5), finding(3, "c.md", "z", 0.9)];
        let merged = merge(meaning, words, &HYBRID);
        let ids: Vec<i64> = merged.iter().map(|finding| finding.id).collect();
        assert_eq!(ids, [2, 1, 3]);
        assert!((merged[0].score - 0.71).abs() < 1e-9);
    }

    #[test]
    fn dated_notes_fade_and_others_do_not() {
        let today = day_of("2026-11-28.md").unwrap();
        let notes = vec![
            finding(1, "memory/2026-10-29.md", "x", 1.0),
            finding(2, "MEMORY.md", "x", 0.6),
            finding(3, "memory/2026-11-28-trip.md", "x", 0.9),
        ];
        let faded = decay(notes, 30.0, today);
        let ids: Vec<i64> = faded.iter().map(|finding| finding.id).collect();
        assert_eq!(ids, [3, 2, 1]);
        assert!((faded[2].score - 0.5).abs() < 1e-9);
    }

    #[test]
    fn a_near_copy_makes_room_for_something_else() {
        let notes = vec![
            finding(1, "a", "the router password is in the drawer", 0.9),
            finding(2, "b", "router password is in the drawer", 0.89),
            finding(3, "c", "holiday in june", 0.5),
        ];
        let ids = |lambda| -> Vec<i64> {
            diverse(notes.clone(), lambda, 2).iter().map(|finding| finding.id).collect()
        };
        assert_eq!(ids(0.5), [1, 3]);
        assert_eq!(ids(1.0), [1, 2]);
    }

    #[test]
    fn vectors_survive_storage() {
        let (one, other) = (unit(&[3.0, 4.0]), bytes(&unit(&[3.0, 4.0])));
        assert!((cosine(&one, &other) - 1.0).abs() < 1e-6);
        assert!((cosine(&one, &bytes(&unit(&[-4.0, 3.0])))).abs() < 1e-6);
        assert!(cosine(&one, &[0, 0]).abs() < f64::EPSILON);
        assert!(text_score(-1.0) > text_score(-0.5) && text_score(-9.0) < 1.0);
    }
}
