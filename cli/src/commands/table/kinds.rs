//! Figures by kind of text, as `quantsmith table` prints them.

use publish::card::{percent, with_error};

use super::report::Report;

/// Head and lines, one for each file and kind; `None` where kinds of text are not told apart.
pub(super) fn cells(report: &Report) -> Option<Vec<Vec<String>>> {
    let head = [
        "Preset",
        "Text",
        "mean KLD",
        "median",
        "99.9 %",
        "same top",
        "flips",
        "to wrong",
        "to right",
        "PPL ratio",
        "",
    ];
    let mut cells = vec![head.map(str::to_owned).to_vec()];
    for line in &report.rows {
        // What is another name of a file has its figures.
        let measured = line.measured.iter().filter(|_| line.row.same_as.is_none());
        for domain in measured.flat_map(|m| &m.domains) {
            let flips = domain.flips.unwrap_or_default();
            cells.push(vec![
                line.row.preset.clone(),
                domain.name.clone(),
                with_error(domain.kld),
                format!("{:.5}", domain.kld_median),
                format!("{:.4}", domain.kld_99_9),
                percent(domain.same_top),
                percent(flips.all),
                percent(flips.lost),
                percent(flips.gained),
                with_error(domain.ppl_ratio),
                String::new(),
            ]);
        }
    }
    (cells.len() > 1).then_some(cells)
}
