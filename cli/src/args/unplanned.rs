//! Arguments of other commands that a plan cannot have.

use anyhow::bail;

/// Arguments that are refused with what to do instead.
#[derive(clap::Args)]
pub(crate) struct UnplannedArgs {
    #[arg(long, hide = true)]
    keep_split: bool,

    #[arg(long, hide = true)]
    target_size: Option<String>,

    #[arg(long, hide = true)]
    target_bpw: Option<String>,

    #[arg(long, hide = true)]
    same_size_as: Option<String>,

    #[arg(long, hide = true)]
    fit_vram: Option<String>,

    #[arg(long, hide = true)]
    frontier: Option<String>,

    #[arg(long, hide = true)]
    precision: Option<String>,
}

impl UnplannedArgs {
    /// Refuses the first that is there.
    pub(crate) fn refuse(&self) -> anyhow::Result<()> {
        if self.keep_split {
            bail!(
                "--keep-split: the files of a plan are named after the model and the preset, and may have other shards than the \
                 model: cut them with --split-max-size or --split-max-tensors, or keep the shards of one file with \
                 `quantsmith quantize --keep-split`"
            );
        }
        for (name, value) in [
            ("target-size", &self.target_size),
            ("target-bpw", &self.target_bpw),
            ("same-size-as", &self.same_size_as),
            ("fit-vram", &self.fit_vram),
        ] {
            if let Some(value) = value {
                bail!(
                    "--{name}: types are chosen by running the whole model, which is one machine's work: `quantsmith quantize \
                     MODEL.gguf OUT.gguf --{name} {value} --save-recipe types.txt` (or `convert`) writes the choice, and \
                     `quantsmith plan --presets PRESET --tensor-type-file types.txt` plans it"
                );
            }
        }
        if self.frontier.is_some() {
            bail!(
                "--frontier: types are chosen by running the whole model, which is one machine's work: `quantsmith table \
                 --frontier` makes the files; in parts, each size is planned by itself, by what `quantsmith quantize \
                 --target-bpw BITS --save-recipe types.txt` writes"
            );
        }
        if self.precision.is_some() {
            bail!(
                "--precision: files are stopped by what their neighbours have shown, which is one machine's work (`quantsmith \
                 table --precision`); --chunks bounds the windows of all files"
            );
        }
        Ok(())
    }
}
