//! The name that a mistyped one was most likely meant to be.

/// Names longer than this are compared by their beginning: the work stays bounded.
const COMPARED: usize = 64;

/// The candidate with the smallest edit distance from `name`, the first of equals.
pub(super) fn nearest<'a>(
    name: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let name: Vec<char> = name.chars().take(COMPARED).flat_map(char::to_lowercase).collect();
    candidates.into_iter().min_by_key(|candidate| distance(&name, candidate))
}

/// Edits that make `name` of `candidate`: insert, delete, replace a character, swap two neighbours
/// (the "optimal string alignment" distance).
fn distance(name: &[char], candidate: &str) -> usize {
    let other: Vec<char> = candidate.chars().flat_map(char::to_lowercase).collect();
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=other.len()).collect();
    for (i, &a) in name.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, &b) in other.iter().enumerate() {
            let mut cost = (above[j] + usize::from(a != b)).min(above[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && a == other[j - 1] && name[i - 1] == b {
                cost = cost.min(before[j - 1] + 1);
            }
            row.push(cost);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn picks_the_closest() {
        let names = ["prefix", "protocol", "timeout", "connect_timeout", "l1.max_bytes"];
        for (typed, meant) in [
            ("prefx", "prefix"),
            ("timeuot", "timeout"),
            ("TIMEOUT", "timeout"),
            ("l1_max_bytes", "l1.max_bytes"),
            ("conect-timeout", "connect_timeout"),
        ] {
            assert_eq!(nearest(typed, names), Some(meant));
        }
        assert_eq!(nearest("x", []), None);
        assert!(nearest(&"é".repeat(100_000), names).is_some());
    }
}
