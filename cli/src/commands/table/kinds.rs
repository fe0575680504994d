//! Figures by kind of text, as `quantsmith table` prints them.

use publish::card::{percent, with_error};
use publish::record::Domain;

/// Head and lines, one for each file and kind; `None` where kinds of text are not told apart.
pub(super) fn cells<'r>(measured: impl Iterator<Item = (&'r str, &'r [Domain])>) -> Option<Vec<Vec<String>>> {
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
    for (preset, domains) in measured {
        for domain in domains {
            let flips = domain.flips.unwrap_or_default();
            cells.push(vec![
                preset.to_owned(),
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
