//! The picture: the traffic, and below it one lane for each way of counting.

use std::fmt::Write as _;

use super::{END, LIMIT, Lane, TRAFFIC, WINDOW};

const WIDTH: u64 = 1_000;
const LEFT: f64 = 60.0;
const RIGHT: f64 = 980.0;
/// Where the traffic starts, and the lanes.
const TRAFFIC_TOP: f64 = 80.0;
const LANES_TOP: f64 = 190.0;
/// Of one lane: from heading to heading, and of its curve.
const LANE: f64 = 190.0;
const CURVE: f64 = 110.0;
/// What the top of a curve stands for.
const HIGHEST: f64 = 2.0 * LIMIT as f64;
/// Requests a second at the top of the traffic.
const BUSIEST: f64 = 20.0;

const INK: &str = "#1f2933";
const FAINT: &str = "#d5dbe1";
const ADMITTED: &str = "#1668a8";
const AREA: &str = "#cfe3f3";
const REFUSED: &str = "#d1432f";
const OFFERED: &str = "#7b8794";

fn x(milliseconds: u64) -> f64 {
    LEFT + (RIGHT - LEFT) * milliseconds as f64 / (END * 1_000) as f64
}

/// The whole picture, as SVG.
pub(crate) fn draw(lanes: &[Lane]) -> String {
    let height = LANES_TOP + LANE * lanes.len() as f64 + 10.0;
    let mut svg = Svg(String::new());
    svg.line(&format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" font-family="sans-serif" font-size="12">"#
    ));
    svg.line(r#"<rect width="100%" height="100%" fill="white"/>"#);
    let title = format!(
        "One caller, {LIMIT} requests a minute, by {} ways of counting",
        lanes.len()
    );
    svg.text(LEFT, 28.0, 18, INK, &title);
    let subtitle = "Curves: requests admitted in the last 60 seconds. Ticks: each request, \
                    admitted (blue) or refused (red).";
    svg.text(LEFT, 48.0, 12, OFFERED, subtitle);
    draw_traffic(&mut svg);
    for (place, lane) in lanes.iter().enumerate() {
        draw_lane(&mut svg, lane, LANES_TOP + LANE * place as f64);
    }
    svg.line("</svg>");
    svg.0
}

fn draw_traffic(svg: &mut Svg) {
    let bottom = TRAFFIC_TOP + 70.0;
    minutes(svg, TRAFFIC_TOP, bottom);
    for phase in &TRAFFIC {
        let (left, right) = (x(phase.from * 1_000), x(phase.to * 1_000));
        let height = 60.0 * phase.per_second as f64 / BUSIEST;
        svg.line(&format!(
            r#"<rect x="{left:.1}" y="{:.1}" width="{:.1}" height="{height:.1}" fill="{OFFERED}"/>"#,
            bottom - height,
            right - left
        ));
        let label = format!("{}: {} a second", phase.name, phase.per_second);
        svg.text(left, bottom - height - 5.0, 11, INK, &label);
    }
    svg.text(8.0, bottom - 4.0, 11, OFFERED, "offered");
}

fn draw_lane(svg: &mut Svg, lane: &Lane, top: f64) {
    let (curve_top, bottom) = (top + 22.0, top + 22.0 + CURVE);
    let y = |count: f64| bottom - CURVE * count / HIGHEST;
    svg.text(LEFT, top + 12.0, 14, INK, lane.name);
    let outcome = format!(
        "admitted: {} of {}; most in any minute: {}, stated: {}",
        lane.admitted().count(),
        lane.verdicts.len(),
        lane.most_in_a_window(),
        lane.bound
    );
    svg.text(LEFT + 240.0, top + 12.0, 12, INK, &outcome);
    minutes(svg, curve_top, bottom + 24.0);
    draw_curve(svg, lane, bottom, &y);

    let bound = (lane.bound != LIMIT).then_some((lane.bound, "2 3"));
    for (count, dashes) in [(LIMIT, "6 4")].into_iter().chain(bound) {
        let height = y(count as f64);
        svg.line(&format!(
            r#"<line x1="{LEFT}" y1="{height:.1}" x2="{RIGHT}" y2="{height:.1}" stroke="{INK}" stroke-dasharray="{dashes}"/>"#
        ));
        svg.text(LEFT - 30.0, height + 4.0, 11, INK, &count.to_string());
    }
    for (time, passed) in &lane.verdicts {
        let (color, from) = match passed {
            true => (ADMITTED, bottom + 3.0),
            false => (REFUSED, bottom + 14.0),
        };
        let (at, to) = (x(*time), from + 9.0);
        svg.line(&format!(
            r#"<line x1="{at:.1}" y1="{from:.1}" x2="{at:.1}" y2="{to:.1}" stroke="{color}" stroke-width="0.7"/>"#
        ));
    }
}

/// How many of the last window's requests were admitted, at every half second.
fn draw_curve(svg: &mut Svg, lane: &Lane, bottom: f64, y: &dyn Fn(f64) -> f64) {
    let mut points = String::new();
    for time in (0..=END * 1_000).step_by(500) {
        let count = lane.within_window(time) as f64;
        let _ = write!(points, "{:.1},{:.1} ", x(time), y(count));
    }
    let (first, last) = (x(0), x(END * 1_000));
    svg.line(&format!(
        r#"<polygon points="{first:.1},{bottom:.1} {points}{last:.1},{bottom:.1}" fill="{AREA}"/>"#
    ));
    svg.line(&format!(
        r#"<polyline points="{}" fill="none" stroke="{ADMITTED}" stroke-width="1.5"/>"#,
        points.trim_end()
    ));
}

/// An upright line at every full minute, and its name below.
fn minutes(svg: &mut Svg, top: f64, bottom: f64) {
    for minute in 0..=END * 1_000 / WINDOW {
        let at = x(minute * WINDOW);
        svg.line(&format!(
            r#"<line x1="{at:.1}" y1="{top:.1}" x2="{at:.1}" y2="{bottom:.1}" stroke="{FAINT}"/>"#
        ));
        svg.text(
            at - 8.0,
            bottom + 12.0,
            10,
            OFFERED,
            &format!("{minute}:00"),
        );
    }
}

struct Svg(String);

impl Svg {
    fn line(&mut self, line: &str) {
        self.0.push_str(line);
        self.0.push('\n');
    }

    fn text(&mut self, x: f64, y: f64, size: u32, color: &str, text: &str) {
        let text = text.replace('&', "&amp;").replace('<', "&lt;");
        self.line(&format!(
            r#"<text x="{x:.1}" y="{y:.1}" font-size="{size}" fill="{color}">{text}</text>"#
        ));
    }
}

/// Whether the elements of a document nest, its attributes are quoted and given once, and its text
/// is escaped; all that XML asks of a document as plain as this one.
pub(crate) fn well_formed(document: &str) -> Result<(), String> {
    let mut open: Vec<&str> = Vec::new();
    let mut elements = 0;
    let mut rest = document;
    while let Some((text, markup)) = rest.split_once('<') {
        is_escaped(text)?;
        if open.is_empty() && !text.trim().is_empty() {
            return Err(format!("text outside of the root: {text}"));
        }
        let (tag, after) = markup.split_once('>').ok_or("a tag that does not end")?;
        rest = after;
        if let Some(name) = tag.strip_prefix('/') {
            if open.pop() != Some(name) {
                return Err(format!("</{name}> closes what is not open"));
            }
            continue;
        }
        if open.is_empty() && elements > 0 {
            return Err(format!("a second root: <{tag}>"));
        }
        elements += 1;
        let (tag, is_empty) = match tag.strip_suffix('/') {
            Some(tag) => (tag, true),
            None => (tag, false),
        };
        let (name, attributes) = tag.split_once(' ').unwrap_or((tag, ""));
        has_good_attributes(attributes).map_err(|why| format!("<{name}>: {why}"))?;
        if !is_empty {
            open.push(name);
        }
    }
    match open.last() {
        Some(name) => Err(format!("<{name}> is not closed")),
        None if elements == 0 || !rest.trim().is_empty() => Err("no document".to_owned()),
        None => Ok(()),
    }
}

fn has_good_attributes(mut attributes: &str) -> Result<(), String> {
    let mut seen: Vec<&str> = Vec::new();
    while !attributes.trim().is_empty() {
        let (name, value) = attributes
            .split_once("=\"")
            .ok_or_else(|| format!("{attributes} has no quoted value"))?;
        let (value, after) = value
            .split_once('"')
            .ok_or_else(|| format!("the value of {name} does not end"))?;
        is_escaped(value)?;
        let name = name.trim();
        if name.is_empty() || name.contains(|c: char| !c.is_ascii_alphanumeric() && c != '-') {
            return Err(format!("{name} is no name"));
        }
        if seen.contains(&name) {
            return Err(format!("{name} is given twice"));
        }
        seen.push(name);
        attributes = after;
    }
    Ok(())
}

fn is_escaped(text: &str) -> Result<(), String> {
    for (at, _) in text.match_indices('&') {
        let entity = &text[at..];
        if !["&amp;", "&lt;", "&gt;", "&quot;"]
            .iter()
            .any(|known| entity.starts_with(known))
        {
            return Err(format!("an ampersand by itself: {entity}"));
        }
    }
    match text.chars().any(|c| c.is_control() && c != '\n') {
        true => Err("a control character".to_owned()),
        false => Ok(()),
    }
}
