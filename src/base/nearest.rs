//! What somebody may have meant by a word that nobody knows.

/// The names at the smallest edit distance, if that is at most 3 and leaves
/// more than two fifths of the longer word intact.
pub fn nearest(word: &str, names: &[String]) -> Vec<String> {
    const MAX_DISTANCE: usize = 3;
    let bare = |name: &str| name.trim_start_matches("--").to_owned();
    let word = bare(word);
    let mut best = MAX_DISTANCE;
    let mut found: Vec<String> = Vec::new();
    for name in names {
        let candidate = bare(name);
        if candidate.chars().count() <= 1 {
            continue;
        }
        let distance = edit_distance(&word, &candidate);
        let length = word.chars().count().max(candidate.chars().count());
        if (length - distance) * 5 <= length * 2 || distance > best {
            continue;
        }
        if distance < best {
            found.clear();
            best = distance;
        }
        found.push(name.clone());
    }
    found.sort();
    found
}

/// Edits between two words; swapping neighbours counts as one.
fn edit_distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().collect();
    let b: Vec<char> = b.chars().collect();
    let mut rows = vec![(0..=b.len()).collect::<Vec<usize>>()];
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let cost = usize::from(a[i - 1] != b[j - 1]);
            row[j] = (rows[i - 1][j] + 1).min(row[j - 1] + 1).min(rows[i - 1][j - 1] + cost);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(rows[i - 2][j - 2] + 1);
            }
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_near_names_are_suggested() {
        let names: Vec<String> = ["logs", "status", "sessions", "system"]
            .iter()
            .map(|name| (*name).to_owned())
            .collect();
        assert_eq!(nearest("bogus", &names), ["logs"]);
        assert_eq!(nearest("version", &names), ["sessions"]);
        assert_eq!(nearest("xyzzy", &names), Vec::<String>::new());
        assert_eq!(edit_distance("stauts", "status"), 1);
    }
}
