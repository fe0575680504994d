//! The methods of quantization: which stored tensors make up a weight.

use gguf::TensorType;
use safetensors::Dtype;
use serde_json::Value;

use super::derived::Derivation;
use super::stored::Stored;
use super::{Rewrite, awq, bitnet, bitsandbytes, fp4, fp6, gptq, mlx, packed, scaled};
use crate::Result;
use crate::source::hf::parts::BlockFactors;
use crate::source::hf::stacks;

impl Rewrite<'_> {
    /// FP8 and the like: weights beside their scales.
    pub(super) fn scaled(&mut self) -> Result<()> {
        let block = self.config.block();
        let mut activations = Vec::new();
        for name in self.names() {
            if is_activation_scale(&name) {
                activations.push(name);
            } else if let Some(weight) = name.strip_suffix("_scale_inv") {
                self.scale(weight, &name, &block)?;
            } else if let Some(module) = name.strip_suffix(".qscale_weight") {
                self.scale(&format!("{module}.weight"), &name, &block)?;
            } else if let Some(module) = name.strip_suffix(".scale")
                && self.is_short(&format!("{module}.weight"))
            {
                // DeepSeek's own layout.
                self.scale(&format!("{module}.weight"), &name, &block)?;
            } else if let Some(weight) = name.strip_suffix("_scale")
                && weight.ends_with(".weight")
            {
                if self.is_nvfp4(weight, &name) {
                    self.nvfp4(weight, weight, &name, &format!("{weight}_scale_2"), false)?;
                } else {
                    self.scale(weight, &name, &block)?;
                }
            }
        }
        self.drop_scales(activations);
        Ok(())
    }

    /// Leaves out scales of activations that no weight has taken.
    fn drop_scales(&mut self, names: Vec<String>) {
        for name in names {
            if !self.consumed.contains(&name) {
                self.drop_unused(name);
            }
        }
    }

    /// A weight that is multiplied by its scale.
    fn scale(&mut self, weight: &str, scale: &str, block: &[u64]) -> Result<()> {
        if self.is_mxfp4(weight, scale) {
            return self.mx(weight.to_owned(), weight, scale);
        }
        let scale = self.need(weight, scale)?;
        let Some(stored) = self.peek(weight) else {
            // Scales of caches have no weight.
            let name = scale.entry.name.clone();
            self.drop_unused(name);
            return Ok(());
        };
        let zero_point = self.take(&format!("{weight}_zero_point"));
        let shape = stored.shape().to_vec();
        if matches!(stored.entry.dtype, Dtype::F8_E4M3 | Dtype::F8_E5M2) {
            self.fp8.insert(weight.to_owned());
        }
        let source = scaled::Scaled::new(stored, scale, zero_point, block)?;
        self.replace(weight, shape, source)
    }

    /// Whether bytes of two codes stand beside one exponent for each 32 of them, as Quark and checkpoints with a
    /// second, smaller format store them.
    fn is_mxfp4(&self, weight: &str, scale: &str) -> bool {
        let (Some(codes), Some(scale)) = (self.peek(weight), self.peek(scale)) else {
            return false;
        };
        let exponents = matches!(scale.entry.dtype, Dtype::U8 | Dtype::F8_E8M0);
        let bytes = matches!(codes.entry.dtype, Dtype::U8 | Dtype::I8);
        exponents && bytes && fp4::Mxfp4::fits(codes.shape(), scale.shape())
    }

    /// Whether a weight is stored in bytes.
    fn is_short(&self, weight: &str) -> bool {
        let dtype = self.peek(weight).map(|s| s.entry.dtype);
        matches!(
            dtype,
            Some(Dtype::F8_E4M3 | Dtype::F8_E5M2 | Dtype::I8 | Dtype::U8)
        )
    }

    fn is_nvfp4(&self, weight: &str, scale: &str) -> bool {
        let dtype = |name: &str| self.peek(name).map(|s| s.entry.dtype);
        dtype(weight) == Some(Dtype::U8) && dtype(scale) == Some(Dtype::F8_E4M3)
    }

    fn is_mxfp6(&self, codes: &str, scale: &str) -> bool {
        let shape = |name: &str| self.peek(name).map(|s| s.entry.shape);
        let (codes, scale) = (shape(codes), shape(scale));
        codes.zip(scale).is_some_and(|(c, s)| fp6::Mxfp6::fits(&c, &s))
    }

    /// An NVFP4 weight. The global scale multiplies, or divides where `inverse`.
    fn nvfp4(&mut self, name: &str, codes: &str, scale: &str, global: &str, inverse: bool) -> Result<()> {
        let scale = self.need(codes, scale)?;
        let codes = self.need(name, codes)?;
        let global = match self.take(global) {
            Some(global) if inverse => 1.0 / global.scalar()?,
            Some(global) => global.scalar()?,
            None => 1.0,
        };
        self.nvfp4_of(name, codes, scale, global, |rewrite| {
            let module = name.strip_suffix(".weight").unwrap_or(name);
            let input = if inverse {
                "input_global_scale"
            } else {
                "input_scale"
            };
            Ok(match rewrite.take(&format!("{module}.{input}")) {
                Some(input) if inverse => 1.0 / input.scalar()?,
                Some(input) => input.scalar()?,
                None => 1.0,
            })
        })
    }

    /// The same of the tensors themselves; `input` finds what the inputs are divided by.
    fn nvfp4_of(
        &mut self,
        name: &str,
        codes: Stored,
        scale: Stored,
        global: f32,
        input: impl FnOnce(&mut Self) -> Result<f32>,
    ) -> Result<()> {
        let blocks = fp4::Nvfp4::new(codes, scale)?;
        let shape = blocks.shape();
        if self.keep_blocks && blocks.has_whole_blocks() {
            let input = input(self)?;
            let derivation = Derivation::Blocks(TensorType::NVFP4, Box::new(blocks));
            let entry = self.file.add(name.to_owned(), shape, derivation)?;
            let factors = BlockFactors {
                weight: global,
                input,
            };
            self.leading.push((name.to_owned(), entry, factors));
            return Ok(());
        }
        let source = blocks.multiplied(global);
        if self.parts.tensors.contains_key(name) {
            return self.replace(name, shape, source);
        }
        self.append(name.to_owned(), shape, Derivation::Values(Box::new(source)))
    }

    pub(super) fn compressed(&mut self) -> Result<()> {
        let block = self.config.block();
        let widths = self.config.widths();
        let mut activations = Vec::new();
        for format in ["marlin-24", "sparse-24-bitmask", "sparse-bitmask", "dense-2of4"] {
            if self.config.has_format(format) {
                return Err(self.config.error(format!(
                    "expected a format that can be read, found {format}; convert the original model"
                )));
            }
        }
        for name in self.names() {
            if is_activation_scale(&name) {
                activations.push(name);
            } else if let Some(weight) = name.strip_suffix("_packed") {
                let dtype = self.peek(&name).map(|s| s.entry.dtype);
                let scale_name = format!("{weight}_scale");
                let scale = self.peek(&scale_name).map(|s| s.entry.dtype);
                match (dtype, scale) {
                    (Some(Dtype::U8), Some(Dtype::F8_E4M3)) => {
                        let global = format!("{weight}_global_scale");
                        self.nvfp4(weight, &name, &scale_name, &global, true)?;
                    }
                    (Some(Dtype::U8), _) if self.is_mxfp6(&name, &scale_name) => {
                        let codes = self.need(weight, &name)?;
                        let scales = self.need(&name, &scale_name)?;
                        let source = fp6::Mxfp6::new(codes, scales)?;
                        let shape = source.shape();
                        self.append(weight.to_owned(), shape, Derivation::Values(Box::new(source)))?;
                    }
                    (Some(Dtype::U8), _) => self.mx(weight.to_owned(), &name, &scale_name)?,
                    _ => {
                        let parts = packed::Parts {
                            packed: self.need(weight, &name)?,
                            scale: self.need(&name, &scale_name)?,
                            shape: self.need(&name, &format!("{weight}_shape"))?,
                            zero_point: self.take(&format!("{weight}_zero_point")),
                            g_idx: self.take(&format!("{weight}_g_idx")),
                        };
                        let source = packed::Packed::new(parts, &widths)?;
                        let shape = source.shape();
                        self.append(weight.to_owned(), shape, Derivation::Values(Box::new(source)))?;
                    }
                }
            } else if let Some(weight) = name.strip_suffix("_scale")
                && weight.ends_with(".weight")
                && !self.parts.tensors.contains_key(&format!("{weight}_packed"))
            {
                self.scale(weight, &name, &block)?;
            }
        }
        self.drop_scales(activations);
        Ok(())
    }

    pub(super) fn bitnet(&mut self) -> Result<()> {
        for name in self.names() {
            let Some(weight) = name.strip_suffix("_scale").filter(|w| w.ends_with(".weight")) else {
                continue;
            };
            let scale = self.need(weight, &name)?;
            let stored = self.need(&name, weight)?;
            if matches!(stored.entry.dtype, Dtype::U8 | Dtype::I8) {
                let source = bitnet::BitNet::new(stored, &scale)?;
                let shape = source.shape();
                self.replace(weight, shape, source)?;
            } else {
                let shape = stored.shape().to_vec();
                let source = scaled::Scaled::new(stored, scale, None, &[])?.inverse();
                self.replace(weight, shape, source)?;
            }
        }
        Ok(())
    }

    /// AutoRound packs as GPTQ or AWQ do; its own packing stores zero points as they are.
    pub(super) fn auto_round(&mut self) -> Result<()> {
        let format = self
            .config
            .text(&["packing_format", "backend"])
            .unwrap_or_default();
        let format = format.to_ascii_lowercase().replace("autoround", "auto_round");
        let (family, packing) = format.split_once(':').unwrap_or(("", &format));
        match (family, packing) {
            (_, "auto_awq" | "awq") => self.awq(),
            (_, "auto_gptq" | "gptq") | ("auto_round", "tritonv2_zp" | "torch_zp") => self.unpack_gptq(1),
            ("", "auto_round") | ("auto_round", "exllamav2" | "tritonv2" | "torch") => self.unpack_gptq(0),
            _ => Err(self.config.error(format!(
                "packing_format: expected auto_round, auto_round:auto_gptq or auto_round:auto_awq, found {format:?}"
            ))),
        }
    }

    pub(super) fn gptq(&mut self) -> Result<()> {
        // The first version of the format stores zero points less one, the second as they are.
        let format = self.config.text(&["checkpoint_format"]).unwrap_or("gptq");
        let zero_offset = match format {
            "gptq" => 1,
            "gptq_v2" => 0,
            other => {
                return Err(self.config.error(format!(
                    "checkpoint_format: expected gptq or gptq_v2, found {other}"
                )));
            }
        };
        self.unpack_gptq(zero_offset)
    }

    /// Layers packed as GPTQ packs them, whose stored zero points are less than the real ones by `zero_offset`.
    fn unpack_gptq(&mut self, zero_offset: i32) -> Result<()> {
        let bits = self.config.number(&["bits"]).and_then(|n| u32::try_from(n).ok());
        let group_size = self.config.number(&["group_size"]);
        for name in self.names() {
            let Some(module) = name.strip_suffix(".qweight") else {
                continue;
            };
            let bits = match self.config.of_module(module, "bits") {
                Some(own) => u32::try_from(own).ok(),
                None => bits,
            };
            let group_size = self.config.of_module(module, "group_size").or(group_size);
            let parts = gptq::Parts {
                qweight: self.need(module, &name)?,
                qzeros: self.need(&name, &format!("{module}.qzeros"))?,
                scales: self.need(&name, &format!("{module}.scales"))?,
                g_idx: self.take(&format!("{module}.g_idx")),
            };
            let source = gptq::Gptq::new(parts, bits, group_size, zero_offset)?;
            let shape = source.shape();
            self.append(
                format!("{module}.weight"),
                shape,
                Derivation::Values(Box::new(source)),
            )?;
        }
        Ok(())
    }

    pub(super) fn awq(&mut self) -> Result<()> {
        let bits = self.config.number(&["bits", "w_bit"]).unwrap_or(4);
        let version = self
            .config
            .text(&["version"])
            .unwrap_or("gemm")
            .to_ascii_lowercase();
        if bits != 4 || version != "gemm" {
            return Err(self.config.error(format!(
                "expected 4 bits in the layout \"gemm\", found {bits} in {version:?}"
            )));
        }
        for name in self.names() {
            let Some(module) = name.strip_suffix(".qweight") else {
                continue;
            };
            let qweight = self.need(module, &name)?;
            let qzeros = self.need(&name, &format!("{module}.qzeros"))?;
            let scales = self.need(&name, &format!("{module}.scales"))?;
            let source = awq::Awq::new(qweight, qzeros, scales)?;
            let shape = source.shape();
            self.append(
                format!("{module}.weight"),
                shape,
                Derivation::Values(Box::new(source)),
            )?;
        }
        Ok(())
    }

    pub(super) fn bitsandbytes(&mut self) -> Result<()> {
        for name in self.names() {
            let four = ["nf4", "fp4"]
                .iter()
                .find_map(|kind| name.strip_suffix(&format!(".quant_state.bitsandbytes__{kind}")));
            if let Some(weight) = four {
                let parts = bitsandbytes::Parts {
                    codes: self.need(&name, weight)?,
                    absmax: self.need(&name, &format!("{weight}.absmax"))?,
                    quant_map: self.need(&name, &format!("{weight}.quant_map"))?,
                    nested_absmax: self.take(&format!("{weight}.nested_absmax")),
                    nested_quant_map: self.take(&format!("{weight}.nested_quant_map")),
                    state: self.need(weight, &name)?,
                };
                let source = bitsandbytes::FourBit::new(parts)?;
                let shape = source.shape();
                self.replace(weight, shape, source)?;
            } else if let Some(module) = name.strip_suffix(".SCB") {
                let weight = format!("{module}.weight");
                let maxima = self.need(&weight, &name)?;
                let stored = self.need(&name, &weight)?;
                self.take(&format!("{weight}_format"));
                let source = bitsandbytes::EightBit::new(stored, maxima)?;
                let shape = source.shape();
                self.replace(&weight, shape, source)?;
            }
        }
        Ok(())
    }

    /// MXFP4 as GPT-OSS has it: `X_blocks` and `X_scales` become one tensor of ggml's blocks, which keeps the
    /// name `X_blocks`, since its rows and columns are not those of an unquantized `X`.
    pub(super) fn mxfp4(&mut self) -> Result<()> {
        for name in self.names() {
            if let Some(weight) = name.strip_suffix("_blocks") {
                self.mx(name.clone(), &name, &format!("{weight}_scales"))?;
            }
        }
        Ok(())
    }

    /// Layers as MLX packs them, each in the mode that the configuration has for it.
    pub(super) fn mlx(&mut self) -> Result<()> {
        for name in self.names() {
            let Some(module) = name.strip_suffix(".scales") else {
                continue;
            };
            let weight = format!("{module}.weight");
            let stack = stacks::stack_of(module);
            let number = |key: &str| self.config.of_layer(&stack, key).and_then(Value::as_u64);
            let (bits, group) = (number("bits"), number("group_size"));
            let mode = self.config.of_layer(&stack, "mode").and_then(Value::as_str);
            let mode = mode.unwrap_or("affine").to_owned();
            let (bits, group) = match (mode.as_str(), bits, group) {
                ("affine", bits, group) => (bits.unwrap_or(4), group.unwrap_or(64)),
                ("mxfp4", ..) => (4, 32),
                ("mxfp8", ..) => (8, 32),
                ("nvfp4", ..) => (4, 16),
                (other, ..) => {
                    return Err(self.config.error(format!(
                        "layer {module}: expected a mode of MLX of affine, mxfp4, mxfp8 and nvfp4, found {other:?}"
                    )));
                }
            };
            let scales = self.need(&weight, &name)?;
            let codes = self.need(&name, &weight)?;
            match mode.as_str() {
                "affine" => {
                    let biases = self.need(&name, &format!("{module}.biases"))?;
                    let source = mlx::Affine::new(codes, scales, biases, bits, group)?;
                    let shape = source.shape();
                    self.replace(&weight, shape, source)?;
                }
                "mxfp4" => self.mx_of(weight, mlx::as_bytes(codes, Dtype::U8)?, scales)?,
                "mxfp8" => {
                    let codes = mlx::as_bytes(codes, Dtype::F8_E4M3)?;
                    let scales = mlx::read_as(scales, Dtype::F8_E8M0)?;
                    let shape = codes.shape().to_vec();
                    let source = scaled::Scaled::new(codes, scales, None, &[1, group])?;
                    self.replace(&weight, shape, source)?;
                }
                _ => {
                    let codes = mlx::as_bytes(codes, Dtype::U8)?;
                    let scales = mlx::read_as(scales, Dtype::F8_E4M3)?;
                    self.nvfp4_of(&weight, codes, scales, 1.0, |_| Ok(1.0))?;
                }
            }
        }
        Ok(())
    }

    fn mx(&mut self, weight: String, codes: &str, scales: &str) -> Result<()> {
        let stored = self.need(&weight, codes)?;
        let scales = self.need(codes, scales)?;
        self.mx_of(weight, stored, scales)
    }

    fn mx_of(&mut self, weight: String, stored: Stored, scales: Stored) -> Result<()> {
        let source = fp4::Mxfp4::new(stored, scales)?;
        let shape = source.shape();
        let derivation = Derivation::Blocks(TensorType::MXFP4, Box::new(source));
        let entry = self.file.add(weight.clone(), shape, derivation)?;
        let factors = BlockFactors {
            weight: 1.0,
            input: 1.0,
        };
        self.leading.push((weight, entry, factors));
        Ok(())
    }
}

/// Whether a tensor scales what a layer is given or keeps, not what it weighs.
fn is_activation_scale(name: &str) -> bool {
    [
        ".input_scale",
        ".input_global_scale",
        ".input_zero_point",
        ".input_scale_ub",
        ".activation_scale",
        "_activation_scale",
        ".output_scale",
        ".qscale_act",
        ".q_scale",
        ".k_scale",
        ".v_scale",
        ".kv_scale",
    ]
    .iter()
    .any(|suffix| name.ends_with(suffix))
}
