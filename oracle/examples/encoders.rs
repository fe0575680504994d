//! `encoders DIR [NAME ...]`: our conversion of encoders against what `py/encoder_fixtures.py --keep DIR` put there.
//! Exit status 1 when one differs.

use anyhow::Result;
use oracle::encoders::{KINDS, open};

fn main() -> Result<()> {
    let (dir, names) = oracle::cases("usage: encoders DIR [NAME ...]")?;
    let mut failed = 0;
    for name in &names {
        let folder = dir.join(name);
        let mut found = Vec::new();
        for (kind, outtype) in KINDS {
            let file = folder.join(format!("{kind}.gguf"));
            let differences = match open(&folder.join("model"), outtype) {
                Err(message) => vec![message],
                Ok(source) => oracle::files::differences(&source, &file)?,
            };
            found.extend(differences.into_iter().map(|what| format!("    {kind}: {what}")));
        }
        println!(
            "{name:<24} {}",
            if found.is_empty() { "equal" } else { "DIFFERS" }
        );
        for line in &found {
            println!("{line}");
        }
        failed += usize::from(!found.is_empty());
    }
    println!("{} cases, {failed} with differences", names.len());
    if failed > 0 {
        std::process::exit(1);
    }
    Ok(())
}
