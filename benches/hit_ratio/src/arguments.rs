//! What is asked for on the command line.

use std::path::PathBuf;

/// What the program says of itself.
pub const USAGE: &str = "\
hit_ratio [OPTION...] [TRACE|FOLDER...]    hit ratios in %, get then insert on a miss

  TRACE             NAME.u64 (little-endian numbers of 64 bits) or a key per line; both also .gz
                    (without: generated traces)
  --capacities LIST numbers of entries, or shares of a trace's distinct keys: 1000,5%
  --runs N          runs of ours, whose hashes differ, to average; default 3
  --threads N       also replay on N threads at once
  --write DOCS      write tables into DOCS/hit-ratio.md and plots into DOCS/hit-ratio/";

/// How large a cache is to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Capacity {
    /// Entries.
    Entries(usize),
    /// Percent of a trace's distinct keys.
    Percent(f64),
}

/// All of it.
#[derive(Debug, PartialEq)]
pub struct Arguments {
    /// Files and folders; none for the generated traces.
    pub traces: Vec<PathBuf>,
    /// For all traces.
    pub capacities: Option<Vec<Capacity>>,
    /// Runs of what differs from run to run.
    pub runs: u64,
    /// Replay on so many threads too.
    pub threads: Option<usize>,
    /// The folder of the documents to write into.
    pub write: Option<PathBuf>,
}

impl Arguments {
    /// Reads what follows the program's name.
    pub fn parse(given: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut arguments =
            Self { traces: Vec::new(), capacities: None, runs: 3, threads: None, write: None };
        let mut given = given;
        while let Some(word) = given.next() {
            let mut value = || given.next().ok_or_else(|| format!("{word} needs a value"));
            match word.as_str() {
                "--capacities" => arguments.capacities = Some(capacities(&value()?)?),
                "--runs" => arguments.runs = number(&value()?, 1, 1000)? as u64,
                "--threads" => arguments.threads = Some(number(&value()?, 2, 256)?),
                "--write" => arguments.write = Some(value()?.into()),
                _ if word.starts_with('-') => return Err(format!("{word} is not an option")),
                _ => arguments.traces.push(word.into()),
            }
        }
        Ok(arguments)
    }
}

fn number(word: &str, least: usize, most: usize) -> Result<usize, String> {
    let number = word.replace('_', "").parse().ok().filter(|n| (least..=most).contains(n));
    number.ok_or_else(|| format!("{word} is not a number from {least} to {most}"))
}

fn capacities(list: &str) -> Result<Vec<Capacity>, String> {
    let one = |word: &str| match word.strip_suffix('%') {
        None => number(word, 1, 1 << 30).map(Capacity::Entries),
        Some(percent) => match percent.parse() {
            Ok(percent) if percent > 0.0 && percent <= 100.0 => Ok(Capacity::Percent(percent)),
            _ => Err(format!("{word} is not a share of the keys")),
        },
    };
    list.split([',', ' ']).filter(|word| !word.is_empty()).map(one).collect()
}

impl Capacity {
    /// Entries, for a trace of so many distinct keys.
    pub fn entries(self, distinct: usize) -> usize {
        match self {
            Self::Entries(entries) => entries,
            Self::Percent(percent) => ((distinct as f64 * percent / 100.0) as usize).max(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments, String> {
        Arguments::parse(line.split(' ').filter(|word| !word.is_empty()).map(String::from))
    }

    #[test]
    fn what_is_said_is_understood() {
        let plain = parse("").unwrap();
        assert!(plain.traces.is_empty() && plain.runs == 3 && plain.threads.is_none());
        let all = parse("a --capacities 1_000,2.5% --threads 4 --runs 1 b --write docs").unwrap();
        assert_eq!(all.traces, [PathBuf::from("a"), "b".into()]);
        assert_eq!(all.capacities, Some(vec![Capacity::Entries(1000), Capacity::Percent(2.5)]));
        assert_eq!((all.threads, all.runs, all.write), (Some(4), 1, Some("docs".into())));
        assert_eq!(Capacity::Percent(2.5).entries(1000), 25);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for line in
            ["--runs", "--runs 0", "--threads 1", "--capacities 0", "--capacities 200%", "-x"]
        {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
