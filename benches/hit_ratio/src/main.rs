//! Hit ratios of the Local cache beside those of other caches, on any trace: each key is looked up and, where
//! it is missing, inserted; every entry weighs the same. `make hit-ratio` runs it, docs/hit-ratio.md shows
//! what came out.
//!
//! - `contenders`: the caches, `reference`: the model of our policy
//! - `trace`, `generate`, `preset`: what is replayed, and at which capacities
//! - `run`: the replays; `table`, `plot`: their figures
//! - `arguments`: the command line

mod arguments;
mod contenders;
mod generate;
mod ids;
mod plot;
mod preset;
mod reference;
mod run;
mod table;
mod trace;

use std::fs;
use std::process::ExitCode;

use arguments::{Arguments, Capacity, USAGE};
use contenders::ALL;
use run::{Progress, Row, ThreadsRow};
use trace::Trace;

/// Where nothing else is said of a trace.
const SHARES: [Capacity; 3] =
    [Capacity::Percent(1.0), Capacity::Percent(5.0), Capacity::Percent(20.0)];

fn main() -> ExitCode {
    if std::env::args().any(|word| word == "--help" || word == "-h") {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    let arguments = match Arguments::parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("{error}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match compare(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// A trace, read when its turn comes, and the capacities that it is known to be interesting at.
type Source = Box<dyn FnOnce() -> Result<(Trace, Option<Vec<usize>>), String>>;

fn sources(arguments: &Arguments) -> Result<Vec<Source>, String> {
    if arguments.traces.is_empty() {
        let made = generate::all().into_iter();
        return Ok(made.map(|(trace, at)| Box::new(|| Ok((trace, Some(at)))) as Source).collect());
    }
    let read = |path: std::path::PathBuf| -> Source {
        Box::new(move || {
            let trace = Trace::load(&path)?;
            let capacities = preset::capacities(&trace.name).map(<[usize]>::to_vec);
            Ok((trace, capacities))
        })
    };
    Ok(trace::files(&arguments.traces)?.into_iter().map(read).collect())
}

fn compare(arguments: &Arguments) -> Result<(), String> {
    let sources = sources(arguments)?;
    let progress = Progress::new(sources.len());
    let (mut rows, mut threads_rows) = (Vec::<Row>::new(), Vec::<ThreadsRow>::new());
    let mut pictures = String::new();
    for source in sources {
        let (trace, known) = source()?;
        progress.step(&trace.name);
        let distinct = trace.distinct();
        let mut capacities = match (&arguments.capacities, known) {
            (None, Some(known)) => known,
            (given, _) => {
                let given = given.as_deref().unwrap_or(&SHARES).iter();
                given.map(|capacity| capacity.entries(distinct)).collect()
            }
        };
        capacities.sort_unstable();
        capacities.dedup();
        let new = run::rows(&trace, &capacities, ALL, arguments.runs, &progress);
        for (threads, row) in
            arguments.threads.iter().flat_map(|n| new.iter().map(move |row| (*n, row)))
        {
            threads_rows.push(ThreadsRow {
                trace: trace.name.clone(),
                capacity: row.capacity,
                one: row.ratio(0),
                many: run::with_threads(&trace, row.capacity, threads, arguments.runs),
            });
        }
        rows.extend(new);
        if let Some(documents) = &arguments.write {
            let curve = run::rows(&trace, &plot::capacities(distinct), ALL, 1, &progress);
            if !curve.is_empty() {
                let folder = documents.join("hit-ratio");
                let picture = folder.join(format!("{}.svg", trace.name));
                fs::create_dir_all(&folder)
                    .and_then(|()| fs::write(&picture, plot::plot(&curve, ALL)))
                    .map_err(|error| format!("{}: {error}", picture.display()))?;
                pictures += &format!("![{0}](hit-ratio/{0}.svg)\n", trace.name);
            }
        }
    }
    progress.end();

    let mut report = table::table(&rows, ALL);
    report += &format!("\n{}\n", table::summary(&rows, ALL));
    report += &(table::shipped(&rows, ALL) + &table::spread(&rows, ALL));
    if let Some(threads) = arguments.threads {
        report += &format!("\n{}", table::threads(&threads_rows, threads));
    }
    println!("{report}");
    if let Some(documents) = &arguments.write {
        let document = documents.join("hit-ratio.md");
        let section = if arguments.traces.is_empty() { "generated" } else { "files" };
        table::replace_section(&document, section, &format!("{report}\n{pictures}"))?;
        eprintln!("written: {}", document.display());
    }
    Ok(())
}
