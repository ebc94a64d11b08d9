//! The charts of the document.

use super::figures::{COMMON_MANNER, Figures, Result};
use super::svg::{Anchor, FAINT, INK, QUIET, Svg};
use super::targets::{
    BARE, HEADERS, HIT, HIT_WITHOUT_HEADERS, PARTS, over_bare, spaced, sum_of_parts,
};

/// Distinct for colour-blind eyes too.
const COLORS: [&str; 9] = [
    "#9aa5b1", "#0072b2", "#56b4e9", "#009e73", "#e69f00", "#cc79a7", "#d55e00", "#b8a200",
    "#3e4c59",
];
const WIDTH: f64 = 860.0;
const TITLE: f64 = 30.0;

/// Their names, without the ending.
pub(crate) fn all(figures: &Figures) -> Result<[(&'static str, String); 5]> {
    Ok([
        ("hit", hit(figures)?),
        ("peers", peers(figures)),
        ("keys", keys(figures)?),
        ("threads", threads(figures)),
        ("stack", stack(figures)),
    ])
}

/// Two stacked bars: a hit with headers and one without, by part.
fn hit(figures: &Figures) -> Result<String> {
    const LEFT: f64 = 120.0;
    const BAR: f64 = 44.0;
    let bare = figures.time(BARE)?;
    let mut bars = Vec::new();
    for (label, id, with_headers) in [
        ("no headers", HIT_WITHOUT_HEADERS, false),
        ("with headers", HIT, true),
    ] {
        let mut parts = vec![bare];
        for (part, _) in &PARTS {
            parts.push(figures.time(&format!("parts/{part}"))?);
        }
        parts.push(match with_headers {
            true => figures.time(&format!("parts/{}", HEADERS.0))?,
            false => 0.0,
        });
        // Below nothing when a part is quicker in its place than by itself.
        let rest = over_bare(figures, id)? - sum_of_parts(figures, with_headers)?;
        parts.push(rest.max(0.0));
        bars.push((label, figures.time(id)?, parts));
    }
    let longest = bars
        .iter()
        .map(|(_, _, parts)| parts.iter().sum::<f64>())
        .fold(0.0, f64::max);
    let scale = (WIDTH - LEFT - 90.0) / longest;

    let names = ["the bare service"]
        .into_iter()
        .chain(PARTS.iter().chain([&HEADERS]).map(|(_, words)| *words))
        .chain(["the rest: what the gate itself does"]);
    let rows = COLORS.len().div_ceil(2) as f64;
    let mut svg = Svg::new(WIDTH, 185.0 + rows * 22.0);
    title(
        &mut svg,
        "A hit by part, in nanoseconds: one rule per key, the service behind it included",
    );
    let mut y = 50.0;
    for (label, total, parts) in &bars {
        svg.words(
            (LEFT - 10.0, y + BAR / 2.0 + 5.0),
            Anchor::End,
            14,
            INK,
            label,
        );
        let mut x = LEFT;
        for (part, color) in parts.iter().zip(COLORS) {
            let width = part * scale;
            svg.bar(x, y, width, BAR, color);
            if width > 26.0 {
                let middle = (x + width / 2.0, y + BAR / 2.0 + 5.0);
                svg.words(middle, Anchor::Middle, 13, "#ffffff", &format!("{part:.0}"));
            }
            x += width;
        }
        let end = (x + 8.0, y + BAR / 2.0 + 5.0);
        svg.words(end, Anchor::Start, 14, INK, &format!("{total:.0} ns"));
        y += BAR + 16.0;
    }
    y += 14.0;
    for (place, (name, color)) in names.zip(COLORS).enumerate() {
        let x = if place % 2 == 0 { LEFT } else { LEFT + 370.0 };
        let y = y + (place / 2) as f64 * 22.0;
        svg.bar(x, y, 13.0, 13.0, color);
        svg.words((x + 20.0, y + 11.0), Anchor::Start, 13, INK, name);
    }
    Ok(svg.finish())
}

/// One bar each, the fastest on top. Times are far apart, so the scale is logarithmic.
fn peers(figures: &Figures) -> String {
    const LEFT: f64 = 300.0;
    const ROW: f64 = 28.0;
    let peers = figures.group("peers");
    let bottom = 60.0 + ROW * peers.len() as f64;
    let least = peers.first().map_or(1.0, |(_, time)| *time);
    let most = peers.last().map_or(10.0, |(_, time)| *time);
    let first = least.log10().floor();
    let last = most.log10().ceil().max(first + 1.0);
    let x = |time: f64| LEFT + (time.log10() - first) / (last - first) * (WIDTH - LEFT - 80.0);

    let mut svg = Svg::new(WIDTH, bottom + 40.0);
    title(
        &mut svg,
        "One admitted request, inner service included, in nanoseconds (logarithmic)",
    );
    let mut power = first;
    while power <= last {
        let at = x(10_f64.powf(power));
        svg.stroke((at, 44.0), (at, bottom), FAINT, 1.0);
        let label = spaced(10_f64.powf(power));
        svg.words((at, bottom + 18.0), Anchor::Middle, 12, QUIET, &label);
        power += 1.0;
    }
    for (place, (name, time)) in peers.iter().enumerate() {
        let y = 52.0 + ROW * place as f64;
        let color = match *name {
            name if name.starts_with(OURS) => COLORS[1],
            name if name.starts_with("bare") => COLORS[0],
            _ => COLORS[4],
        };
        svg.words((LEFT - 10.0, y + 14.0), Anchor::End, 13, INK, name);
        svg.bar(LEFT, y, x(*time) - LEFT, 19.0, color);
        let end = (x(*time) + 6.0, y + 14.0);
        svg.words(end, Anchor::Start, 13, INK, &spaced(*time));
    }
    svg.finish()
}

const OURS: &str = "wacht-auth";

/// The cases of the group `keys`.
pub(crate) const OF_KEYS: [&str; 4] = [
    "hit, one rule, 1000 in use",
    "hit, one rule",
    "hit, no rule matches",
    "moka get alone",
];

/// Time against the number of known keys.
fn keys(figures: &Figures) -> Result<String> {
    const LEFT: f64 = 70.0;
    const RIGHT: f64 = 560.0;
    const TOP: f64 = 55.0;
    const BOTTOM: f64 = 300.0;
    let populations = ["1000", "100000", "1000000"];
    let mut lines = Vec::new();
    for name in OF_KEYS {
        let times = populations
            .iter()
            .map(|keys| figures.time(&format!("keys/{name}, {keys} keys")));
        lines.push((name, times.collect::<Result<Vec<f64>>>()?));
    }
    let highest = lines
        .iter()
        .flat_map(|(_, times)| times)
        .copied()
        .fold(0.0, f64::max);
    let step = round_step(highest / 5.0);
    let top = (highest / step).ceil() * step;
    let y = |time: f64| BOTTOM - (BOTTOM - TOP) * time / top;
    // Logarithmic, as far as three points need it.
    let places = [0.0, 2.0 / 3.0, 1.0].map(|part| LEFT + 20.0 + (RIGHT - LEFT - 40.0) * part);

    let mut svg = Svg::new(WIDTH, 345.0);
    title(
        &mut svg,
        "Nanoseconds a call, by known keys, which come in random order",
    );
    let mut mark = 0.0;
    while mark <= top + step / 2.0 {
        svg.stroke((LEFT, y(mark)), (RIGHT, y(mark)), FAINT, 1.0);
        let at = (LEFT - 8.0, y(mark) + 4.0);
        svg.words(at, Anchor::End, 12, QUIET, &spaced(mark));
        mark += step;
    }
    for (keys, x) in [1e3, 1e5, 1e6].into_iter().zip(places) {
        let at = (x, BOTTOM + 20.0);
        svg.words(
            at,
            Anchor::Middle,
            12,
            QUIET,
            &format!("{} keys", spaced(keys)),
        );
    }
    let colors = [COLORS[2], COLORS[1], COLORS[3], COLORS[4]];
    for ((_, times), color) in lines.iter().zip(colors) {
        let points: Vec<(f64, f64)> = places
            .into_iter()
            .zip(times.iter().map(|time| y(*time)))
            .collect();
        for pair in points.windows(2) {
            svg.stroke(pair[0], pair[1], color, 2.5);
        }
        for point in points {
            svg.dot(point, color);
        }
    }
    // The figures stand with the names: beside the points they would stand on one another.
    let ends: Vec<f64> = lines
        .iter()
        .map(|(_, times)| times.last().map_or(BOTTOM, |time| y(*time)))
        .collect();
    for (((name, times), color), y) in
        lines
            .iter()
            .zip(colors)
            .zip(spread(&ends, 36.0, TOP, BOTTOM - 25.0))
    {
        svg.words((RIGHT + 14.0, y), Anchor::Start, 13, color, name);
        let times: Vec<String> = times.iter().map(|time| spaced(*time)).collect();
        let figures = (RIGHT + 14.0, y + 15.0);
        svg.words(figures, Anchor::Start, 12, INK, &times.join("  →  "));
    }
    Ok(svg.finish())
}

/// Calls a second of one thread and of two.
fn threads(figures: &Figures) -> String {
    const LEFT: f64 = 250.0;
    const ROW: f64 = 58.0;
    let rows: Vec<_> = figures
        .threads
        .iter()
        // A hash makes so many calls that nothing else could be seen beside it.
        .filter(|row| row.name != "SHA-256 alone")
        .collect();
    let most = rows
        .iter()
        .map(|row| row.two.max(row.one))
        .fold(1.0, f64::max);
    let scale = (WIDTH - LEFT - 190.0) / most;
    let mut svg = Svg::new(WIDTH, 60.0 + ROW * rows.len() as f64);
    title(
        &mut svg,
        "Million calls a second, one thread (light) and two (dark)",
    );
    for (place, row) in rows.iter().enumerate() {
        let y = 50.0 + ROW * place as f64;
        svg.words((LEFT - 10.0, y + 26.0), Anchor::End, 14, INK, &row.name);
        svg.bar(LEFT, y, row.one * scale, 20.0, COLORS[2]);
        svg.bar(LEFT, y + 21.0, row.two * scale, 20.0, COLORS[1]);
        let millions = |calls: f64| format!("{:.2}", calls / 1e6);
        let one = (LEFT + row.one * scale + 8.0, y + 15.0);
        svg.words(one, Anchor::Start, 13, INK, &millions(row.one));
        let two = (LEFT + row.two * scale + 8.0, y + 36.0);
        let label = format!("{}  ({:.2} ×)", millions(row.two), row.ratio);
        svg.words(two, Anchor::Start, 13, INK, &label);
    }
    svg.finish()
}

/// As near to where each is wanted as can be, with this much room between two, and none outside of
/// these bounds unless all of them have no room there.
fn spread(wanted: &[f64], room: f64, least: f64, most: f64) -> Vec<f64> {
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by(|one, other| wanted[*one].total_cmp(&wanted[*other]));
    let mut placed = wanted.to_vec();
    let mut next = least;
    for place in &order {
        placed[*place] = placed[*place].max(next);
        next = placed[*place] + room;
    }
    let mut last = most;
    for place in order.iter().rev() {
        placed[*place] = placed[*place].min(last);
        last = placed[*place] - room;
    }
    placed
}

/// What each server adds to the bare one's processor time, under the common load.
fn stack(figures: &Figures) -> String {
    const LEFT: f64 = 270.0;
    const ROW: f64 = 30.0;
    let rows: Vec<_> = figures
        .stack
        .iter()
        .filter(|row| row.manner == COMMON_MANNER && row.name != "axum, bare")
        .collect();
    let most = rows.iter().map(|row| row.user_us_added).fold(0.1, f64::max);
    let scale = (WIDTH - LEFT - 100.0) / most;
    let mut svg = Svg::new(WIDTH, 60.0 + ROW * rows.len() as f64);
    title(
        &mut svg,
        "Microseconds of processor time that a request costs over the bare server",
    );
    for (place, row) in rows.iter().enumerate() {
        let y = 48.0 + ROW * place as f64;
        let color = match row.name.as_str() {
            name if name.starts_with("gate") => COLORS[1],
            name if name.starts_with("earlier") => COLORS[2],
            name if name.starts_with("axum") => COLORS[0],
            _ => COLORS[4],
        };
        let width = (row.user_us_added * scale).max(0.0);
        svg.words((LEFT - 10.0, y + 15.0), Anchor::End, 13, INK, &row.name);
        svg.bar(LEFT, y, width, 21.0, color);
        let label = format!("{:.2}", row.user_us_added);
        let end = (LEFT + width + 8.0, y + 15.0);
        svg.words(end, Anchor::Start, 13, INK, &label);
    }
    svg.finish()
}

fn title(svg: &mut Svg, words: &str) {
    svg.words((20.0, TITLE), Anchor::Start, 17, INK, words);
}

/// 1, 2 or 5 times a power of ten, at least as large as `wanted`.
fn round_step(wanted: f64) -> f64 {
    let power = 10_f64.powf(wanted.log10().floor());
    let step = [1.0, 2.0, 5.0]
        .into_iter()
        .map(|times| times * power)
        .find(|step| *step >= wanted);
    step.unwrap_or(10.0 * power)
}
