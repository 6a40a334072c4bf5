//! Rows as Markdown, and into the document.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use crate::contenders::{Kind, Role};
use crate::run::{Row, ThreadsRow, mean};

/// The table of all rows.
pub fn table(rows: &[Row], kinds: &[Kind]) -> String {
    let mut out = String::from("| trace | capacity |");
    for kind in kinds {
        let _ = write!(out, " {} |", kind.name);
    }
    out += " best peer | gap |\n|---|--:|";
    out += &"--:|".repeat(kinds.len());
    out += "---|--:|\n";
    let ours = ours(kinds);
    for row in rows {
        let _ = write!(out, "| {} | {} |", row.trace, row.capacity);
        for (at, kind) in kinds.iter().enumerate() {
            let strong = if kind.role == Role::Ours { "**" } else { "" };
            let _ = write!(out, " {strong}{:.2}{strong} |", row.ratio(at));
        }
        let best = row.best(kinds, |_, role| role.is_peer()).map_or("", |best| kinds[best].name);
        let _ = writeln!(out, " {best} | {:.2} |", row.gap(kinds, ours));
    }
    out
}

/// For each contender, how far it is below the best of the other peers.
pub fn summary(rows: &[Row], kinds: &[Kind]) -> String {
    let mut out = String::from("| | mean gap | worst gap | on |\n|---|--:|--:|---|\n");
    for (at, kind) in kinds.iter().enumerate() {
        let gaps = rows.iter().map(|row| row.gap(kinds, at)).collect::<Vec<_>>();
        let worst = (0..rows.len()).max_by(|a, b| gaps[*a].total_cmp(&gaps[*b]));
        let Some(worst) = worst else { continue };
        let Row { trace, capacity, .. } = &rows[worst];
        let (all, most) = (mean(&gaps), gaps[worst]);
        let _ = writeln!(out, "| {} | {all:.2} | {most:.2} | {trace} @ {capacity} |", kind.name);
    }
    out
}

/// The same for ours, where only what is shipped is a peer.
pub fn shipped(rows: &[Row], kinds: &[Kind]) -> String {
    let ours = ours(kinds);
    let gap = |row: &Row| {
        let best = row.best(kinds, |_, role| role == Role::Shipped);
        best.map_or(0.0, |best| row.ratio(best)) - row.ratio(ours)
    };
    let gaps = rows.iter().map(gap).collect::<Vec<_>>();
    let worst = gaps.iter().copied().fold(f64::MIN, f64::max);
    format!(
        "Ours is {:.2} points below the best of the shipped caches on average and {worst:.2} at worst, \
         the textbook policies left out.\n",
        mean(&gaps)
    )
}

/// How much ours differs from run to run, as its hashes do.
pub fn spread(rows: &[Row], kinds: &[Kind]) -> String {
    let ours = ours(kinds);
    let spread = |row: &Row| {
        let ratios = row.ratios[ours].iter().copied();
        ratios.clone().fold(f64::MIN, f64::max) - ratios.fold(f64::MAX, f64::min)
    };
    match rows.iter().max_by(|a, b| spread(a).total_cmp(&spread(b))) {
        Some(row) if row.ratios[ours].len() > 1 => format!(
            "Ours is the mean of {} runs, which differ by {:.2} points at most (on {} @ {}).\n",
            row.ratios[ours].len(),
            spread(row),
            row.trace,
            row.capacity
        ),
        _ => String::new(),
    }
}

/// Threads beside one thread.
pub fn threads(rows: &[ThreadsRow], threads: usize) -> String {
    let mut out = format!(
        "| trace | capacity | 1 thread | {threads} threads | difference |\n|---|--:|--:|--:|--:|\n"
    );
    for ThreadsRow { trace, capacity, one, many } in rows {
        let by = many - one;
        let _ = writeln!(out, "| {trace} | {capacity} | {one:.2} | {many:.2} | {by:+.2} |");
    }
    let by = rows.iter().map(|row| row.many - row.one).collect::<Vec<_>>();
    let least = by.iter().copied().fold(f64::MAX, f64::min);
    let _ = writeln!(out, "\nOn average {:+.2} points, at worst {least:+.2}.", mean(&by));
    out
}

/// Puts `text` between the marks of a section in a document.
pub fn replace_section(document: &Path, section: &str, text: &str) -> Result<(), String> {
    let failed = |what: String| format!("{}: {what}", document.display());
    let old = fs::read_to_string(document).map_err(|error| failed(error.to_string()))?;
    let new = with_section(&old, section, text)
        .ok_or_else(|| failed(format!("no marks `begin {section}` and `end {section}`")))?;
    fs::write(document, new).map_err(|error| failed(error.to_string()))
}

fn with_section(document: &str, section: &str, text: &str) -> Option<String> {
    let (begin, end) = (format!("<!-- begin {section} -->\n"), format!("<!-- end {section} -->"));
    let (before, rest) = document.split_once(&begin)?;
    let (_, after) = rest.split_once(&end)?;
    Some(format!("{before}{begin}{text}{end}{after}"))
}

fn ours(kinds: &[Kind]) -> usize {
    kinds.iter().position(|kind| kind.role == Role::Ours).expect("ours is among them")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contenders::ALL;

    fn row(name: &str, of: impl Fn(&Kind) -> f64) -> Row {
        let ratios = ALL.iter().map(|kind| vec![of(kind)]).collect();
        Row { trace: name.into(), capacity: 7, ratios }
    }

    #[test]
    fn gaps_are_to_the_best_peer_but_oneself() {
        let rows = [
            row("a", |kind| match kind.name {
                "ours" => 40.0,
                "moka" => 42.0,
                "LRU" => 41.5,
                "optimum" | "model" => 90.0,
                _ => 10.0,
            }),
            row("b", |kind| if kind.role == Role::Ours { 11.0 } else { 10.0 }),
        ];
        let table = table(&rows, ALL);
        assert!(table.lines().nth(2).unwrap().ends_with("| moka | 2.00 |"), "{table}");
        assert!(table.lines().nth(3).unwrap().ends_with("| -1.00 |"), "{table}");
        let shipped = shipped(&rows, ALL);
        assert!(
            shipped.contains(
                "is 0.50 points below the best of the shipped caches on average and 2.00"
            ),
            "{shipped}"
        );
        let columns = table.lines().map(|line| line.matches('|').count()).collect::<Vec<_>>();
        assert!(columns.iter().all(|n| *n == ALL.len() + 5), "{columns:?}");
        let summary = summary(&rows, ALL);
        assert!(summary.contains("| ours | 0.50 | 2.00 | a @ 7 |"), "{summary}");
        assert!(summary.contains("| moka | -0.25 | 0.00 | b @ 7 |"), "{summary}");
        assert!(summary.contains("| LRU | 0.25 | 0.50 | a @ 7 |"), "{summary}");
    }

    #[test]
    fn the_spread_is_that_of_the_widest_row() {
        let mut rows = [row("a", |_| 1.0), row("b", |_| 2.0)];
        assert_eq!(spread(&rows, ALL), "");
        rows[0].ratios[0] = vec![1.0, 1.25];
        rows[1].ratios[0] = vec![2.0, 3.5, 2.0];
        assert!(
            spread(&rows, ALL).contains("3 runs, which differ by 1.50 points at most (on b @ 7)")
        );
    }

    #[test]
    fn threads_are_compared_with_one() {
        let row = |one, many| ThreadsRow { trace: "a".into(), capacity: 5, one, many };
        let text = threads(&[row(50.0, 49.0), row(20.0, 20.5)], 4);
        assert!(text.contains("| a | 5 | 50.00 | 49.00 | -1.00 |"), "{text}");
        assert!(text.contains("On average -0.25 points, at worst -1.00."), "{text}");
    }

    #[test]
    fn a_section_is_replaced_and_nothing_else() {
        let document = "x\n<!-- begin a -->\nold\n<!-- end a -->\ny\n";
        let new = with_section(document, "a", "new\n").unwrap();
        assert_eq!(new, "x\n<!-- begin a -->\nnew\n<!-- end a -->\ny\n");
        assert_eq!(with_section(document, "b", "new"), None);
    }
}
