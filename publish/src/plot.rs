//! Plots in SVG: size against what is lost, with error bars and the files that no other beats. Kinds of quants differ in
//! their marks, so that a plot reads without colour.

use plotters::coord::Shift;
use plotters::coord::ranged1d::{AsRangedCoord, Ranged, ValueFormatter};
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::record::{Estimate, Row};
use crate::{Error, Result, choose};

/// Name of the plot in a published folder.
pub const FILE: &str = "kld.svg";

/// Width and height of a plot, in pixels.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Width.
    pub width: u32,
    /// Height.
    pub height: u32,
}

/// A plot for a page.
pub const WIDE: Size = Size {
    width: 960,
    height: 540,
};
/// A plot for a telephone.
pub const NARROW: Size = Size {
    width: 380,
    height: 460,
};

/// The quantity of a plot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Quantity {
    /// Mean KL divergence, on a logarithmic scale.
    Kld,
    /// Perplexity over the unquantized model's.
    PplRatio,
}

const INK: RGBColor = RGBColor(0x22, 0x22, 0x22);
const GREY: RGBColor = RGBColor(0x8a, 0x8a, 0x8a);
const GRID: RGBColor = RGBColor(0xe4, 0xe4, 0xe4);

/// Kinds of quants, each with its colour (of a palette that the colour-blind can tell apart) and its mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// K-quants: circles.
    K,
    /// I-quants: triangles.
    I,
    /// The others: squares.
    Other,
    /// Types chosen for the model: diamonds.
    Chosen,
}

impl Kind {
    fn of(row: &Row) -> Self {
        let preset = &row.preset;
        if row.chosen.is_some() {
            Self::Chosen
        } else if preset.starts_with("IQ") {
            Self::I
        } else if preset.contains("_K") {
            Self::K
        } else {
            Self::Other
        }
    }

    fn colour(self) -> RGBColor {
        match self {
            Self::K => RGBColor(0x00, 0x72, 0xb2),
            Self::I => RGBColor(0xd5, 0x5e, 0x00),
            Self::Other => RGBColor(0x00, 0x7a, 0x5a),
            Self::Chosen => RGBColor(0x8a, 0x3d, 0x7a),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::K => "K-quants",
            Self::I => "I-quants",
            Self::Other => "others",
            Self::Chosen => "chosen types",
        }
    }
}

/// A point of a plot.
struct Point<'a> {
    preset: &'a str,
    kind: Kind,
    size: f64,
    value: f64,
    error: f64,
    on_front: bool,
}

/// Draws the files of a table; `None` where fewer than two have figures that can be drawn.
///
/// # Errors
/// When drawing fails.
pub fn draw(files: &[&Row], quantity: Quantity, size: Size, title: &str) -> Result<Option<String>> {
    let (unit, unit_name) = unit(files);
    let front: Vec<&str> = choose::front(files)
        .iter()
        .map(|row| row.preset.as_str())
        .collect();
    let points: Vec<Point<'_>> = files
        .iter()
        .filter_map(|row| {
            let measured = row.measured.as_ref()?;
            let Estimate { value, error } = match quantity {
                Quantity::Kld => measured.kld,
                Quantity::PplRatio => measured.ppl_ratio,
            };
            // A logarithmic scale has no place for a file that loses nothing.
            let drawn = value.is_finite() && error.is_finite() && (quantity != Quantity::Kld || value > 0.0);
            drawn.then_some(Point {
                preset: &row.preset,
                kind: Kind::of(row),
                size: row.size? as f64 / unit,
                value,
                error,
                on_front: front.contains(&row.preset.as_str()),
            })
        })
        .collect();
    if points.len() < 2 {
        return Ok(None);
    }
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (size.width, size.height)).into_drawing_area();
        let drawn = match quantity {
            Quantity::Kld => {
                let low = |p: &Point<'_>| (p.value - p.error).max(p.value / 2.0);
                let (least, most) = span(&points, low, |p| p.value + p.error);
                let range = (least / 1.4..most * 1.5).log_scale();
                let names = (unit_name, "mean KL divergence (nats)");
                chart(&root, &points, range, size, names, quantity, &|v| scientific(*v))
            }
            Quantity::PplRatio => {
                let (least, most) = span(&points, |p| p.value - p.error, |p| p.value + p.error);
                let (least, most) = (least.min(1.0), most.max(1.0));
                let room = (most - least).max(1e-6) * 0.06;
                let range = least - room..most + room;
                let digits = if most - least < 0.02 { 4 } else { 3 };
                chart(
                    &root,
                    &points,
                    range,
                    size,
                    (unit_name, "perplexity / unquantized"),
                    quantity,
                    &|v| format!("{v:.digits$}"),
                )
            }
        };
        drawn
            .and_then(|()| root.present().map_err(|e| e.to_string()))
            .map_err(|message| Error::input("kld.svg", message))?;
    }
    Ok(Some(titled(&svg, title)))
}

fn span(
    points: &[Point<'_>],
    low: impl Fn(&Point<'_>) -> f64,
    high: impl Fn(&Point<'_>) -> f64,
) -> (f64, f64) {
    points
        .iter()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |range, p| {
            (range.0.min(low(p)), range.1.max(high(p)))
        })
}

/// The unit of sizes in which the largest file is not less than 1.
fn unit(files: &[&Row]) -> (f64, &'static str) {
    let largest = files.iter().filter_map(|row| row.size).max().unwrap_or(0);
    if largest >= 1 << 30 {
        (f64::from(1u32 << 30), "size (GiB)")
    } else {
        (f64::from(1u32 << 20), "size (MiB)")
    }
}

/// A number of a logarithmic scale, as short as it is clear.
fn scientific(value: f64) -> String {
    let text = if value >= 0.01 {
        format!("{value:.3}")
    } else {
        format!("{value:.6}")
    };
    let text = text.trim_end_matches('0').trim_end_matches('.');
    text.to_owned()
}

/// An SVG file with a title for those who hear it.
fn titled(svg: &str, title: &str) -> String {
    let escaped = title
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    match svg.split_once('>') {
        Some((head, rest)) => format!("{head} role=\"img\">\n<title>{escaped}</title>{rest}"),
        None => svg.to_owned(),
    }
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

fn chart<'a, Y>(
    root: &Area<'a>,
    points: &[Point<'_>],
    range: Y,
    size: Size,
    (x_name, y_name): (&str, &str),
    quantity: Quantity,
    y_text: &dyn Fn(&f64) -> String,
) -> std::result::Result<(), String>
where
    Y: AsRangedCoord<Value = f64>,
    Y::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    let narrow = size.width < 600;
    let font = if narrow { 12 } else { 14 };
    let told = |e: plotters::drawing::DrawingAreaErrorKind<std::io::Error>| e.to_string();
    root.fill(&WHITE).map_err(told)?;
    let (least, most) = span(points, |p| p.size, |p| p.size);
    let room = (most - least).max(most * 0.02) * 0.07;
    let x: RangedCoordf64 = ((least - room).max(0.0)..most + room * 1.6).into();
    let mut chart = ChartBuilder::on(root)
        .margin(if narrow { 6 } else { 14 })
        .margin_top(if narrow { 34 } else { 36 })
        .x_label_area_size(if narrow { 40 } else { 46 })
        .y_label_area_size(if narrow { 62 } else { 82 })
        .build_cartesian_2d(x.range(), range)
        .map_err(told)?;
    chart
        .configure_mesh()
        .bold_line_style(GRID)
        .light_line_style(WHITE)
        .axis_style(GREY)
        .x_labels(if narrow { 4 } else { 9 })
        .y_labels(8)
        .x_desc(x_name)
        .y_desc(y_name)
        .label_style(("sans-serif", font).into_font().color(&INK))
        .axis_desc_style(("sans-serif", font).into_font().color(&INK))
        .x_label_formatter(&|v| format!("{v:.1}"))
        .y_label_formatter(&|v| y_text(v))
        .draw()
        .map_err(told)?;
    let line: Vec<(f64, f64)> = match quantity {
        Quantity::Kld => points
            .iter()
            .filter(|p| p.on_front)
            .map(|p| (p.size, p.value))
            .collect(),
        // Here the line is the unquantized model.
        Quantity::PplRatio => vec![((least - room).max(0.0), 1.0), (most + room * 1.6, 1.0)],
    };
    chart
        .draw_series(std::iter::once(PathElement::new(
            line,
            INK.mix(0.45).stroke_width(2),
        )))
        .map_err(told)?;
    for p in points {
        let style = p.kind.colour().stroke_width(1);
        let ends = [(p.size, p.value - p.error), (p.size, p.value + p.error)];
        // The lower end of an error that is as large as the value has no place on a logarithmic scale.
        let ends = ends.map(|(x, y)| (x, if y > 0.0 { y } else { p.value }));
        chart
            .draw_series(std::iter::once(PathElement::new(ends.to_vec(), style)))
            .map_err(told)?;
    }
    let mut taken: Vec<Bounds> = Vec::new();
    let places: Vec<(i32, i32)> = points
        .iter()
        .map(|p| chart.backend_coord(&(p.size, p.value)))
        .collect();
    for (p, &at) in points.iter().zip(&places) {
        mark(root, p.kind, at, p.on_front).map_err(told)?;
        taken.push(Bounds::around(at, 6, 6));
    }
    // Those that no other beats have the first choice of a place for their name.
    let mut order: Vec<usize> = (0..points.len()).collect();
    order.sort_by_key(|&i| !points[i].on_front);
    for index in order {
        let text = points[index].preset;
        let font = if narrow { 10 } else { 12 };
        if let Some((at, bounds)) = place(text, places[index], font, size, &taken) {
            taken.push(bounds);
            root.draw(&Text::new(text, at, ("sans-serif", font).into_font().color(&INK)))
                .map_err(told)?;
        }
    }
    legend(root, points, font, narrow, quantity).map_err(told)
}

/// A rectangle in pixels.
#[derive(Clone, Copy)]
struct Bounds {
    left: i32,
    top: i32,
    right: i32,
    bottom: i32,
}

impl Bounds {
    fn around((x, y): (i32, i32), w: i32, h: i32) -> Self {
        Self {
            left: x - w,
            top: y - h,
            right: x + w,
            bottom: y + h,
        }
    }

    fn meets(&self, other: &Self) -> bool {
        self.left < other.right
            && other.left < self.right
            && self.top < other.bottom
            && other.top < self.bottom
    }
}

/// A place for a name beside its point that meets nothing; `None` where there is none, and the name is left out.
fn place(
    text: &str,
    (x, y): (i32, i32),
    font: i32,
    size: Size,
    taken: &[Bounds],
) -> Option<((i32, i32), Bounds)> {
    // Digits and capitals of a sans-serif font are six tenths as wide as it is high.
    let (w, h) = (text.len() as i32 * font * 62 / 100, font);
    let offsets = [
        (9, -h / 2 - 1),
        (4, -h - 8),
        (4, 8),
        (-w - 9, -h / 2 - 1),
        (-w - 4, -h - 8),
        (-w - 4, 8),
        (-w / 2, -h - 10),
        (-w / 2, 10),
        (14, -h - 16),
        (14, 18),
        (-w - 14, 18),
    ];
    offsets.into_iter().find_map(|(dx, dy)| {
        let at = (x + dx, y + dy);
        let bounds = Bounds {
            left: at.0,
            top: at.1,
            right: at.0 + w,
            bottom: at.1 + h,
        };
        let inside = bounds.left > 66 && bounds.right < size.width as i32 - 4 && bounds.top > 30;
        let free = inside && bounds.bottom < size.height as i32 - 50;
        (free && !taken.iter().any(|other| other.meets(&bounds))).then_some((at, bounds))
    })
}

fn mark(
    root: &Area<'_>,
    kind: Kind,
    (x, y): (i32, i32),
    on_front: bool,
) -> std::result::Result<(), plotters::drawing::DrawingAreaErrorKind<std::io::Error>> {
    let colour = kind.colour();
    let style = if on_front {
        colour.filled()
    } else {
        ShapeStyle {
            color: WHITE.to_rgba(),
            filled: true,
            stroke_width: 1,
        }
    };
    let edge = colour.stroke_width(2);
    match kind {
        Kind::K => {
            root.draw(&Circle::new((x, y), 5, style))?;
            root.draw(&Circle::new((x, y), 5, edge))
        }
        Kind::I => {
            let corners = [(x, y - 6), (x + 6, y + 5), (x - 6, y + 5)];
            root.draw(&Polygon::new(corners.to_vec(), style))?;
            root.draw(&PathElement::new(
                [corners[0], corners[1], corners[2], corners[0], corners[1]].to_vec(),
                edge,
            ))
        }
        Kind::Other => {
            let corners = [(x - 5, y - 5), (x + 5, y + 5)];
            root.draw(&Rectangle::new(corners, style))?;
            root.draw(&Rectangle::new(corners, edge))
        }
        Kind::Chosen => {
            let corners = [(x, y - 7), (x + 7, y), (x, y + 7), (x - 7, y)];
            root.draw(&Polygon::new(corners.to_vec(), style))?;
            let around = [
                corners[0], corners[1], corners[2], corners[3], corners[0], corners[1],
            ];
            root.draw(&PathElement::new(around.to_vec(), edge))
        }
    }
}

fn legend(
    root: &Area<'_>,
    points: &[Point<'_>],
    font: i32,
    narrow: bool,
    quantity: Quantity,
) -> std::result::Result<(), plotters::drawing::DrawingAreaErrorKind<std::io::Error>> {
    let style = ("sans-serif", font)
        .into_font()
        .color(&INK)
        .pos(Pos::new(HPos::Left, VPos::Center));
    let mut x = if narrow { 14 } else { 90 };
    for kind in [Kind::K, Kind::I, Kind::Other, Kind::Chosen] {
        if points.iter().any(|p| p.kind == kind) {
            mark(root, kind, (x, 18), true)?;
            root.draw(&Text::new(kind.name(), (x + 11, 18), style.clone()))?;
            x += 24 + kind.name().len() as i32 * font * 6 / 10;
        }
    }
    root.draw(&PathElement::new(
        vec![(x, 18), (x + 20, 18)],
        INK.mix(0.45).stroke_width(2),
    ))?;
    let text = match (quantity, narrow) {
        (Quantity::PplRatio, _) => "unquantized",
        (Quantity::Kld, true) => "best for its size",
        (Quantity::Kld, false) => "no file is smaller and better (filled marks)",
    };
    root.draw(&Text::new(text, (x + 26, 18), style))
}
