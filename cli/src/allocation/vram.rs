//! The size of a file that fits a GPU's memory, by the estimator of `quantsmith fit`.

use anyhow::Context as _;
use convert::quantize::Quantization;
use convert::source::Source;
use reference::memory::estimate;

use crate::args::target::Vram;

impl Vram {
    /// Bytes of the GPU that are left when all layers of the planned file are there; negative where they do not fit.
    pub(super) fn room(&self, source: &dyn Source, plan: &Quantization<'_>) -> anyhow::Result<i128> {
        let tensors = plan.outputs.iter().flat_map(|output| output.tensors());
        let memory = estimate(source.metadata(), tensors, &self.settings)
            .with_context(|| source.path().display().to_string())?;
        let used = memory.on_gpu(memory.gpu_layers()).total();
        Ok(i128::from(self.memory) - i128::from(used))
    }

    /// Bytes of a file that fills the GPU, if what stays with the CPU is as in this plan; 0 where nothing is left.
    pub(super) fn bytes(&self, source: &dyn Source, plan: &Quantization<'_>) -> anyhow::Result<u64> {
        let bytes = i128::from(plan.file_size()) + self.room(source, plan)?;
        Ok(u64::try_from(bytes).unwrap_or(0))
    }
}
