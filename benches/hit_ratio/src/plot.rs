//! A picture of a trace: hit ratio over capacity, as SVG.

use std::fmt::Write;

use crate::contenders::{Kind, Role};
use crate::run::Row;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 52.0;
const RIGHT: f64 = 590.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 376.0;
/// Of the peers, in their order: told apart with any kind of sight by the dashes too.
const COLOURS: [&str; 10] = [
    "#0072b2", "#56b4e9", "#009e73", "#7fbf7b", "#e69f00", "#b8860b", "#d8b365", "#999999",
    "#cc79a7", "#8c6bb1",
];
const DASHES: [&str; 3] = ["", "7 3", "2 3"];

/// Draws the rows of one trace, by ascending capacity.
pub fn plot(rows: &[Row], kinds: &[Kind]) -> String {
    let Some((first, last)) = rows.first().zip(rows.last()) else { return String::new() };
    let shown = (0..kinds.len()).filter(|i| kinds[*i].role != Role::Model).collect::<Vec<_>>();
    let ratios = || rows.iter().flat_map(|row| shown.iter().map(|i| row.ratio(*i)));
    // Whole tens around all that is drawn.
    let low = (ratios().fold(100.0, f64::min) / 10.0).floor() * 10.0;
    let high = ((ratios().fold(0.0, f64::max) / 10.0).ceil() * 10.0).max(low + 10.0);
    let wide = (last.capacity as f64 / first.capacity as f64).ln().max(f64::EPSILON);
    let x = |capacity: usize| {
        LEFT + (RIGHT - LEFT) * (capacity as f64 / first.capacity as f64).ln() / wide
    };
    let y = |ratio: f64| BOTTOM - (BOTTOM - TOP) * (ratio - low) / (high - low);

    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"12\" fill=\"#222\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#fff\"/>\n\
         <text x=\"{LEFT}\" y=\"20\" font-size=\"14\">{}: hit ratio in % over capacity in entries</text>\n",
        first.trace
    );
    for ten in (0..=10).map(|ten| f64::from(ten) * 10.0).filter(|ten| (low..=high).contains(ten)) {
        let at = y(ten);
        let _ = writeln!(
            out,
            "<path d=\"M{LEFT} {at:.1}H{RIGHT}\" stroke=\"#ddd\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{ten}</text>",
            LEFT - 6.0,
            at + 4.0
        );
    }
    for row in rows {
        let at = x(row.capacity);
        let _ = writeln!(
            out,
            "<path d=\"M{at:.1} {TOP}V{BOTTOM}\" stroke=\"#eee\"/>\
             <text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            BOTTOM + 18.0,
            row.capacity
        );
    }
    // Ours last, above all others.
    let by_role = |role| shown.iter().filter(move |i| kinds[**i].role == role);
    let peers = shown
        .iter()
        .filter(|i| kinds[**i].role.is_peer())
        .enumerate()
        .map(|(n, i)| (*i, COLOURS[n % COLOURS.len()], 1.5, DASHES[n % DASHES.len()]));
    let optimum = by_role(Role::Optimum).map(|i| (*i, "#222", 1.0, "4 4"));
    let ours = by_role(Role::Ours).map(|i| (*i, "#d00", 3.0, ""));
    let lines = optimum.chain(peers).chain(ours).collect::<Vec<_>>();
    for (line, (i, colour, width, dashes)) in lines.iter().enumerate() {
        let style = format!(
            "fill=\"none\" stroke=\"{colour}\" stroke-width=\"{width}\" stroke-dasharray=\"{dashes}\""
        );
        let style = style.replace(" stroke-dasharray=\"\"", "");
        let points =
            rows.iter().map(|row| format!("{:.1},{:.1}", x(row.capacity), y(row.ratio(*i))));
        let points = points.collect::<Vec<_>>().join(" ");
        let (x, y) = (RIGHT + 16.0, TOP + 12.0 + 20.0 * (lines.len() - 1 - line) as f64);
        let _ = writeln!(
            out,
            "<polyline points=\"{points}\" {style}/>\
             <path d=\"M{x} {y}h26\" {style}/><text x=\"{}\" y=\"{}\">{}</text>",
            x + 32.0,
            y + 4.0,
            kinds[*i].name
        );
    }
    out + "</svg>\n"
}

/// Capacities for a picture of a trace of so many distinct keys: from a 256th to half of them.
pub fn capacities(distinct: usize) -> Vec<usize> {
    (1..=8).rev().map(|halvings| distinct >> halvings).filter(|capacity| *capacity >= 16).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contenders::ALL;

    #[test]
    fn all_that_is_shown_lies_within() {
        let row = |capacity, ratio: f64| Row {
            trace: "zipf".into(),
            capacity,
            ratios: ALL.iter().enumerate().map(|(i, _)| vec![ratio + i as f64]).collect(),
        };
        let svg = plot(&[row(16, 3.0), row(64, 55.0), row(256, 80.0)], ALL);
        let lines = svg.matches("<polyline").count();
        assert_eq!(lines, ALL.len() - 1);
        for points in svg.split("points=\"").skip(1) {
            let points = points.split('"').next().unwrap().split(' ').map(|point| {
                let (x, y) = point.split_once(',').unwrap();
                (x.parse::<f64>().unwrap(), y.parse::<f64>().unwrap())
            });
            let points = points.collect::<Vec<_>>();
            assert_eq!(
                (points[0].0, points[1].0, points[2].0),
                (LEFT, (LEFT + RIGHT) / 2.0, RIGHT)
            );
            assert!(points.iter().all(|(_, y)| (TOP..=BOTTOM).contains(y)), "{points:?}");
            assert!(points[0].1 > points[1].1 && points[1].1 > points[2].1);
        }
        assert!(svg.contains(">ours<") && !svg.contains(">model<"));
        assert_eq!(plot(&[], ALL), "");
    }

    #[test]
    fn capacities_are_spread_and_not_tiny() {
        assert_eq!(capacities(100_000).len(), 8);
        assert_eq!(capacities(100), [25, 50]);
        assert!(capacities(10).is_empty());
    }
}
