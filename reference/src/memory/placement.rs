//! Division of a model between a GPU and the CPU.

use super::Memory;

/// Memory of a GPU that is left free for its driver and other programs, in bytes: as much as llama.cpp's own `--fit` leaves.
pub const RESERVE: u64 = 1 << 30;

/// Memory there is, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// The GPU's.
    pub gpu: u64,
    /// The CPU's, where it is bounded.
    pub ram: Option<u64>,
}

/// Bytes that are used on one side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Use {
    /// Weights.
    pub weights: u64,
    /// Keys and values.
    pub cache: u64,
    /// Recurrent states.
    pub states: u64,
    /// Buffers.
    pub buffers: u64,
}

impl Use {
    /// Everything.
    pub fn total(&self) -> u64 {
        [self.weights, self.cache, self.states, self.buffers]
            .into_iter()
            .fold(0, u64::saturating_add)
    }
}

/// A division that fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fit {
    /// Layers on the GPU, the output counted as one more: llama.cpp's `-ngl`.
    pub gpu_layers: usize,
    /// Bytes on the GPU.
    pub gpu: Use,
    /// Bytes with the CPU.
    pub cpu: Use,
}

impl Memory {
    /// Layers that can be on a GPU, the output counted as one more.
    pub fn gpu_layers(&self) -> usize {
        self.layers.len() + 1
    }

    /// Bytes on the GPU with `-ngl` of `layers`: llama.cpp takes the last ones, and the output before all others.
    pub fn on_gpu(&self, layers: usize) -> Use {
        let mut used = Use::default();
        if layers == 0 {
            return used;
        }
        used.weights = self.output.saturating_add(self.tied);
        for layer in self.layers.iter().rev().take(layers - 1) {
            used.weights = used.weights.saturating_add(layer.weights);
            used.cache = used.cache.saturating_add(layer.cache);
            used.states = used.states.saturating_add(layer.states);
        }
        used.buffers = self.compute;
        used
    }

    /// Bytes with the CPU then.
    pub fn on_cpu(&self, layers: usize) -> Use {
        let mut used = Use {
            weights: self.input,
            buffers: self.logits,
            ..Use::default()
        };
        let kept = self.layers.len().saturating_sub(layers.saturating_sub(1));
        for layer in &self.layers[..kept] {
            used.weights = used.weights.saturating_add(layer.weights);
            used.cache = used.cache.saturating_add(layer.cache);
            used.states = used.states.saturating_add(layer.states);
        }
        if layers == 0 {
            used.weights = used.weights.saturating_add(self.output);
        }
        let computed = if kept > 0 { self.compute } else { self.inputs };
        used.buffers = used.buffers.saturating_add(computed);
        used
    }

    /// The division with the most layers on the GPU that fits; `None` where the rest does not fit the CPU's memory.
    pub fn fit(&self, budget: &Budget) -> Option<Fit> {
        (0..=self.gpu_layers()).rev().find_map(|layers| {
            let fit = Fit {
                gpu_layers: layers,
                gpu: self.on_gpu(layers),
                cpu: self.on_cpu(layers),
            };
            let held = fit.gpu.total() <= budget.gpu && budget.ram.is_none_or(|ram| fit.cpu.total() <= ram);
            held.then_some(fit)
        })
    }
}
