//! A drawing of rectangles, lines and words.

use std::fmt::Display;

pub(crate) const INK: &str = "#1f2933";
pub(crate) const FAINT: &str = "#d5dbe1";
pub(crate) const QUIET: &str = "#5f6c7b";

pub(crate) struct Svg {
    text: String,
}

/// Which end of a text stands where it is put.
#[derive(Clone, Copy)]
pub(crate) enum Anchor {
    Start,
    Middle,
    End,
}

impl Svg {
    /// On white, so that it can be read on a dark page as well.
    pub(crate) fn new(width: f64, height: f64) -> Self {
        let mut svg = Self {
            text: String::new(),
        };
        svg.line(format_args!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" font-family="sans-serif">"#
        ));
        svg.line(r##"<rect width="100%" height="100%" fill="#ffffff"/>"##);
        svg
    }

    pub(crate) fn bar(&mut self, x: f64, y: f64, width: f64, height: f64, color: &str) {
        self.line(format_args!(
            r#"<rect x="{x:.1}" y="{y:.1}" width="{:.1}" height="{height:.1}" fill="{color}"/>"#,
            width.max(0.0)
        ));
    }

    pub(crate) fn stroke(&mut self, from: (f64, f64), to: (f64, f64), color: &str, width: f64) {
        let ((x1, y1), (x2, y2)) = (from, to);
        self.line(format_args!(
            r#"<line x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}" stroke="{color}" stroke-width="{width}"/>"#
        ));
    }

    pub(crate) fn dot(&mut self, at: (f64, f64), color: &str) {
        let (x, y) = at;
        self.line(format_args!(
            r#"<circle cx="{x:.1}" cy="{y:.1}" r="4" fill="{color}"/>"#
        ));
    }

    pub(crate) fn words(
        &mut self,
        at: (f64, f64),
        anchor: Anchor,
        size: u32,
        color: &str,
        words: &str,
    ) {
        let (x, y) = at;
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let words = words
            .replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;");
        self.line(format_args!(
            r#"<text x="{x:.1}" y="{y:.1}" font-size="{size}" text-anchor="{anchor}" fill="{color}">{words}</text>"#
        ));
    }

    pub(crate) fn finish(mut self) -> String {
        self.line("</svg>");
        self.text
    }

    fn line(&mut self, line: impl Display) {
        self.text.push_str(&line.to_string());
        self.text.push('\n');
    }
}
