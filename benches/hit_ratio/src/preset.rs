//! The rows by which the policy is judged: public traces, and capacities at which policies differ. They hold
//! where a file of that name is among those given; where to get them is in docs/hit-ratio.md.

const ROWS: [(&str, &[usize]); 10] = [
    ("loop", &[500, 1000]),
    ("multi1", &[500, 1500]),
    ("sprite", &[400, 800]),
    ("two_pools", &[100, 450]),
    ("web07", &[500, 5000]),
    ("orm_busy", &[1000, 5000]),
    ("scarab_recs", &[25_000, 75_000]),
    ("gcc", &[1024, 4096]),
    ("arc_OLTP", &[1000, 5000]),
    ("arc_P3", &[25_000, 100_000]),
];

/// The capacities for a trace of that name.
pub fn capacities(name: &str) -> Option<&'static [usize]> {
    ROWS.iter().find(|row| row.0 == name).map(|row| row.1)
}
