//! `report.html`: one page that needs no network: plots, a table that sorts, layers, tokens and kinds of text.

use std::collections::BTreeMap;

use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value, context};
use serde::Serialize;

use crate::card::{Facts, View, percent, three_digits, unit, with_error};
use crate::plot::{self, Quantity};
use crate::record::{Row, Table};
use crate::{Error, Result, choose};

const TEMPLATE: &str = include_str!("report.html");

/// A plot for pages and for telephones.
#[derive(Serialize)]
struct Plot {
    title: &'static str,
    wide: String,
    narrow: String,
}

/// A cell of the table: what is shown, and the number that it sorts by.
#[derive(Serialize)]
struct Cell {
    text: String,
    key: Option<f64>,
    title: String,
}

#[derive(Serialize)]
struct Line {
    preset: String,
    file: String,
    on_front: bool,
    notes: String,
    cells: Vec<Cell>,
}

/// Type and error of a tensor, where the layer has one.
type HeatCell = Option<(String, Option<f64>)>;

/// Types and errors of the tensors of a file, by layer and kind.
#[derive(Serialize)]
struct Heat {
    preset: String,
    /// Rows, each with its name and a cell for each kind of tensor.
    rows: Vec<(String, Vec<HeatCell>)>,
}

#[derive(Serialize)]
struct Lost {
    preset: String,
    positions: Vec<Spot>,
}

#[derive(Serialize)]
struct Spot {
    at: String,
    kld: String,
    before: String,
    token: String,
    p_base: String,
    p: String,
}

#[derive(Serialize)]
struct Domains {
    names: Vec<String>,
    rows: Vec<(String, Vec<Option<DomainCell>>)>,
}

#[derive(Serialize)]
struct DomainCell {
    kld: String,
    median: String,
    kld_99_9: String,
    same_top: String,
    flips: Option<String>,
    /// Share of the largest, in percent.
    bar: f64,
}

/// The page.
///
/// # Errors
/// When a plot cannot be drawn.
pub fn render(table: &Table, facts: &Facts) -> Result<String> {
    let files = choose::files(table);
    let mut plots = Vec::new();
    for (quantity, title) in [
        (Quantity::Kld, "Size and mean KL divergence"),
        (Quantity::PplRatio, "Size and perplexity"),
    ] {
        let wide = plot::draw(&files, quantity, plot::WIDE, title)?;
        let narrow = plot::draw(&files, quantity, plot::NARROW, title)?;
        if let (Some(wide), Some(narrow)) = (wide, narrow) {
            plots.push(Plot { title, wide, narrow });
        }
    }
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    let (kinds, heat) = heat(table, &files);
    let page = environment
        .template_from_named_str("report.html", TEMPLATE)
        .and_then(|template| {
            template.render(context! {
                view => Value::from(Serde(View::of(table, facts))),
                plots => Value::from(Serde(plots)),
                lines => Value::from(Serde(lines(table, &files))),
                kinds => kinds,
                heat => Value::from(Serde(heat)),
                lost => Value::from(Serde(lost(&files))),
                domains => Value::from(Serde(domains(&files))),
            })
        })
        .map_err(|e| Error::Template(format!("{e:#}")))?;
    Ok(page)
}

fn lines(table: &Table, files: &[&Row]) -> Vec<Line> {
    let front = choose::front(files);
    let unit = unit(table);
    let cell = |text: String, key: f64| Cell {
        text,
        key: key.is_finite().then_some(key),
        title: String::new(),
    };
    files
        .iter()
        .map(|row| {
            let size = row.size.unwrap_or(0);
            let mut cells = vec![
                cell(unit.number(size), size as f64),
                match row.bits_per_weight {
                    Some(bits) => cell(format!("{bits:.2}"), bits),
                    None => cell(String::new(), f64::NAN),
                },
            ];
            if let Some(m) = &row.measured {
                cells.extend([
                    cell(with_error(m.kld), m.kld.value),
                    cell(
                        m.kld_quantile(0.5).map_or_else(String::new, three_digits),
                        m.kld_quantile(0.5).unwrap_or(f64::NAN),
                    ),
                    cell(
                        m.kld_quantile(0.999).map_or_else(String::new, three_digits),
                        m.kld_quantile(0.999).unwrap_or(f64::NAN),
                    ),
                    cell(format!("{:.2} %", m.same_top.value * 100.0), m.same_top.value),
                    match m.flips {
                        Some(f) => Cell {
                            title: format!(
                                "right to wrong {}, wrong to right {}",
                                percent(f.lost),
                                percent(f.gained)
                            ),
                            ..cell(percent(f.all), f.all.value)
                        },
                        None => cell(String::new(), f64::NAN),
                    },
                    cell(with_error(m.ppl), m.ppl.value),
                    cell(with_error(m.ppl_ratio), m.ppl_ratio.value),
                    match &m.kld_ratio {
                        Some(ratio) => {
                            let (value, error) =
                                (1.0 / ratio.value, ratio.error / (ratio.value * ratio.value));
                            Cell {
                                title: format!("of the KLD of {}", ratio.of),
                                ..cell(format!("{value:.3} ± {error:.3}"), value)
                            }
                        }
                        None => cell(String::new(), f64::NAN),
                    },
                ]);
            }
            let mut notes: Vec<String> = Vec::new();
            let aliases: Vec<&str> = table
                .rows
                .iter()
                .filter(|other| other.same_as.as_ref() == Some(&row.preset))
                .map(|other| other.preset.as_str())
                .collect();
            if !aliases.is_empty() {
                notes.push(format!("also {}", aliases.join(", ")));
            }
            if let Some(other) = choose::beaten_by(row, files) {
                notes.push(format!("{} is not larger and better", other.preset));
            }
            notes.extend(crate::card::substitutions(row, table.model.weights));
            Line {
                preset: row.preset.clone(),
                file: row.file.clone().unwrap_or_default(),
                on_front: front.iter().any(|f| f.preset == row.preset),
                notes: notes.join("; "),
                cells,
            }
        })
        .collect()
}

/// Layer and kind of a tensor: of `blk.3.attn_q.weight`, layer 3 and `attn_q`.
fn place(name: &str) -> (Option<u32>, String) {
    let short = |name: &str| name.strip_suffix(".weight").unwrap_or(name).to_owned();
    let layer = name.strip_prefix("blk.").and_then(|rest| rest.split_once('.'));
    match layer.and_then(|(number, rest)| Some((number.parse().ok()?, rest))) {
        Some((number, rest)) => (Some(number), short(rest)),
        None => (None, short(name)),
    }
}

/// Kinds of tensors in the layers, and each file's types and errors. Tensors of one dimension (norms, biases), which no
/// preset changes, are left out.
fn heat(table: &Table, files: &[&Row]) -> (Vec<String>, Vec<Heat>) {
    let tensors = &table.model.tensors;
    let shown: Vec<usize> = (0..tensors.len())
        .filter(|&i| tensors[i].shape.len() > 1)
        .collect();
    let mut kinds: Vec<String> = Vec::new();
    for &i in &shown {
        let (layer, kind) = place(&tensors[i].name);
        if layer.is_some() && !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    kinds.sort();
    let heat = files
        .iter()
        .filter(|row| !row.weight_errors.is_empty())
        .map(|row| {
            let mut layers: BTreeMap<u32, Vec<HeatCell>> = BTreeMap::new();
            let mut others = Vec::new();
            for &i in &shown {
                let value = row
                    .types
                    .get(i)
                    .map(|ty| (ty.clone(), row.weight_errors.get(i).copied().flatten()));
                match place(&tensors[i].name) {
                    (Some(layer), kind) => {
                        let cells = layers.entry(layer).or_insert_with(|| vec![None; kinds.len()]);
                        if let Some(at) = kinds.iter().position(|k| *k == kind) {
                            cells[at] = value;
                        }
                    }
                    (None, kind) => others.push((kind, vec![value])),
                }
            }
            let mut rows = others;
            rows.extend(
                layers
                    .into_iter()
                    .map(|(layer, cells)| (layer.to_string(), cells)),
            );
            Heat {
                preset: row.preset.clone(),
                rows,
            }
        })
        .collect();
    (kinds, heat)
}

fn lost(files: &[&Row]) -> Vec<Lost> {
    let percent = |p: f64| format!("{} %", three_digits(p * 100.0));
    files
        .iter()
        .filter_map(|row| {
            let measured = row.measured.as_ref()?;
            let positions = measured.worst.iter().map(|w| Spot {
                at: format!("{}:{}", w.chunk, w.position),
                kld: three_digits(w.kld),
                before: w.before.clone(),
                token: w.token.clone(),
                p_base: percent(w.p_base),
                p: percent(w.p),
            });
            Some(Lost {
                preset: row.preset.clone(),
                positions: positions.collect(),
            })
        })
        .filter(|lost| !lost.positions.is_empty())
        .collect()
}

fn domains(files: &[&Row]) -> Option<Domains> {
    let of = |row: &Row| {
        row.measured
            .as_ref()
            .map(|m| m.domains.clone())
            .unwrap_or_default()
    };
    let names: Vec<String> = files.iter().find_map(|row| {
        let names: Vec<String> = of(row).into_iter().map(|d| d.name).collect();
        (!names.is_empty()).then_some(names)
    })?;
    let rows = files
        .iter()
        .filter(|row| row.measured.is_some())
        .map(|row| {
            let domains = of(row);
            let largest = domains.iter().map(|d| d.kld.value).fold(0.0, f64::max);
            let cells = names.iter().map(|name| {
                let domain = domains.iter().find(|d| d.name == *name)?;
                Some(DomainCell {
                    kld: with_error(domain.kld),
                    median: three_digits(domain.kld_median),
                    kld_99_9: three_digits(domain.kld_99_9),
                    same_top: format!("{:.1} %", domain.same_top.value * 100.0),
                    flips: domain.flips.map(|f| percent(f.all)),
                    bar: (domain.kld.value / largest.max(f64::MIN_POSITIVE) * 100.0).round(),
                })
            });
            (row.preset.clone(), cells.collect())
        })
        .collect();
    Some(Domains { names, rows })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_have_places() {
        assert_eq!(place("blk.12.attn_q.weight"), (Some(12), "attn_q".into()));
        assert_eq!(place("token_embd.weight"), (None, "token_embd".into()));
        assert_eq!(place("blk.x.y"), (None, "blk.x.y".into()));
    }
}
