//! Plots as SVG, without a library: bars in groups, and lines over a common axis. They go to `target/bench/`.

use crate::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

pub struct Bar {
    pub name: String,
    /// Stacked, from the axis outward.
    pub parts: [f64; 2],
}

pub struct Group {
    pub name: String,
    pub bars: Vec<Bar>,
}

pub struct Line {
    pub name: String,
    pub points: Vec<(f64, f64)>,
}

const COLOURS: [(&str, &str); 4] =
    [("#1f5f8b", "#8fbcd9"), ("#b5412d", "#e2a598"), ("#3d7a45", "#a3cfa8"), ("#7a5c99", "#c3b1d6")];
const BAR: f64 = 16.0;
const GAP: f64 = 14.0;
const LEFT: f64 = 130.0;
const WIDE: f64 = 560.0;
const TOP: f64 = 60.0;

/// A colour a server, the same in every group and plot.
fn colour(name: &str) -> (&'static str, &'static str) {
    let at = ["basalt", "redis", "valkey", "pogocache"].iter().position(|&n| n == name);
    COLOURS[at.unwrap_or(0)]
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

fn text(out: &mut String, x: f64, y: f64, anchor: &str, size: u32, words: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(
        out,
        r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}" font-size="{size}">{}</text>"#,
        escape(words)
    );
}

fn rect(out: &mut String, x: f64, y: f64, wide: f64, fill: &str) {
    let _ = writeln!(out, r#"<rect x="{x:.1}" y="{y:.1}" width="{:.1}" height="{BAR}" fill="{fill}"/>"#, wide.max(0.0));
}

pub fn bars(file: &str, title: &str, note: &str, groups: &[Group]) -> Result<(), Error> {
    let sums = groups.iter().flat_map(|g| &g.bars).map(|bar| bar.parts.iter().sum::<f64>());
    let most = sums.filter(|sum| sum.is_finite()).fold(f64::MIN_POSITIVE, f64::max);
    let mut body = String::new();
    text(&mut body, 10.0, 24.0, "start", 16, title);
    text(&mut body, 10.0, 42.0, "start", 11, note);
    let mut y = TOP;
    for group in groups {
        let middle = y + BAR * group.bars.len() as f64 / 2.0 + 4.0;
        text(&mut body, LEFT - 8.0, middle, "end", 12, &group.name);
        for bar in &group.bars {
            let (dark, light) = colour(&bar.name);
            let [first, second] = bar.parts.map(|part| if part.is_finite() { part / most * WIDE } else { 0.0 });
            rect(&mut body, LEFT, y, first, dark);
            rect(&mut body, LEFT + first, y, second, light);
            let label = format!("{} {:.2}", bar.name, bar.parts.iter().sum::<f64>());
            text(&mut body, LEFT + first + second + 6.0, y + BAR - 4.0, "start", 11, &label);
            y += BAR + 2.0;
        }
        y += GAP;
    }
    save(file, LEFT + WIDE + 130.0, y, &body)
}

/// Lines over a common axis; the upward axis is logarithmic, since stalls are what such a plot is looked at for.
pub fn lines(file: &str, title: &str, note: &str, lines: &[Line]) -> Result<(), Error> {
    const HIGH: f64 = 300.0;
    let all = || lines.iter().flat_map(|line| &line.points);
    let right = all().map(|p| p.0).fold(f64::MIN_POSITIVE, f64::max);
    let positive = || all().map(|p| p.1).filter(|y| *y > 0.0);
    let low = positive().fold(f64::MAX, f64::min).log10().floor();
    let high = positive().fold(f64::MIN_POSITIVE, f64::max).log10().ceil().max(low + 1.0);
    let at = |(x, y): (f64, f64)| {
        let up = (y.max(10f64.powf(low)).log10() - low) / (high - low);
        (LEFT + x / right * WIDE, TOP + HIGH - up * HIGH)
    };
    let mut body = String::new();
    text(&mut body, 10.0, 24.0, "start", 16, title);
    text(&mut body, 10.0, 42.0, "start", 11, note);
    for power in low as i32..=high as i32 {
        let value = 10f64.powi(power);
        let (_, y) = at((0.0, value));
        let _ = writeln!(body, r##"<path d="M{LEFT} {y:.1}h{WIDE}" stroke="#ddd"/>"##);
        text(&mut body, LEFT - 8.0, y + 4.0, "end", 11, &format!("{value}"));
    }
    for (n, line) in lines.iter().enumerate() {
        let (dark, _) = colour(&line.name);
        let path: Vec<String> = line.points.iter().map(|&p| at(p)).map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let _ = writeln!(body, r#"<polyline points="{}" fill="none" stroke="{dark}"/>"#, path.join(" "));
        rect(&mut body, LEFT + WIDE + 10.0, TOP + n as f64 * 24.0, BAR, dark);
        text(&mut body, LEFT + WIDE + 32.0, TOP + n as f64 * 24.0 + 12.0, "start", 12, &line.name);
    }
    save(file, LEFT + WIDE + 130.0, TOP + HIGH + 30.0, &body)
}

fn save(file: &str, wide: f64, high: f64, body: &str) -> Result<(), Error> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/bench");
    fs::create_dir_all(&dir)?;
    let path = dir.join(file);
    let svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {wide:.0} {high:.0}\" font-family=\"sans-serif\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n{body}</svg>\n"
    );
    fs::write(&path, svg)?;
    println!("plot: {}", path.display());
    Ok(())
}
