//! Arguments that decide each tensor's type.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use convert::recipe::{Preset, RecipeOptions, TensorTypeRule};
use gguf::{TYPES, TensorType};

/// Heading of these options in the help.
const HEADING: &str = "Types of tensors";

/// Options that decide each tensor's type.
#[derive(clap::Args)]
pub(crate) struct TypeArgs {
    /// Give every tensor the preset's base type
    #[arg(help_heading = HEADING, long)]
    pure: bool,

    /// Leave output.weight as it is
    #[arg(help_heading = HEADING, long)]
    leave_output_tensor: bool,

    /// Type of output.weight
    #[arg(help_heading = HEADING, long, value_name = "TYPE", value_parser = type_parser(), ignore_case = true)]
    output_tensor_type: Option<TensorType>,

    /// Type of the token embeddings
    #[arg(help_heading = HEADING, long, value_name = "TYPE", value_parser = type_parser(), ignore_case = true)]
    token_embedding_type: Option<TensorType>,

    /// Type of the tensors whose names match a regular expression; the first match decides (repeatable)
    #[arg(help_heading = HEADING, long, value_name = "REGEX=TYPE", value_parser = parse_rule)]
    tensor_type: Vec<TensorTypeRule>,

    /// File of REGEX=TYPE rules, separated by blanks or newlines (repeatable)
    #[arg(help_heading = HEADING, long, value_name = "FILE")]
    tensor_type_file: Vec<PathBuf>,

    /// Refuse to replace a type that does not fit a tensor's rows
    #[arg(help_heading = HEADING, long)]
    no_fallback: bool,

    /// Refuse a list with a --tensor-type rule that matches no tensor of the model, also where it would match one of another
    /// architecture
    #[arg(help_heading = HEADING, long)]
    strict: bool,
}

impl TypeArgs {
    /// Whether any of these arguments is there.
    pub(crate) fn given(&self) -> bool {
        self.pure
            || self.leave_output_tensor
            || self.no_fallback
            || self.output_tensor_type.is_some()
            || self.token_embedding_type.is_some()
            || !self.tensor_type.is_empty()
            || !self.tensor_type_file.is_empty()
    }

    /// The files of rules.
    pub(crate) fn files(&self) -> &[PathBuf] {
        &self.tensor_type_file
    }

    /// The recipe of a preset under these arguments.
    pub(crate) fn recipe(&self, preset: Preset) -> anyhow::Result<RecipeOptions> {
        let mut tensor_types = self.tensor_type.clone();
        for path in &self.tensor_type_file {
            let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
            for rule in text.split_ascii_whitespace() {
                let rule = TensorTypeRule::parse(rule);
                tensor_types.push(rule.with_context(|| path.display().to_string())?);
            }
        }
        Ok(RecipeOptions::new(preset)
            .pure(self.pure)
            .leave_output_tensor(self.leave_output_tensor)
            .output_tensor_type(self.output_tensor_type)
            .token_embedding_type(self.token_embedding_type)
            .tensor_types(tensor_types)
            .no_fallback(self.no_fallback)
            .strict(self.strict))
    }
}

/// The types that a tensor can be given.
fn type_parser() -> impl TypedValueParser<Value = TensorType> {
    let encodable = TYPES.iter().filter(|t| quants::can_encode(t.ty));
    PossibleValuesParser::new(encodable.map(|t| t.name))
        .try_map(|name| TensorType::from_name(&name).ok_or("no tensor type"))
}

fn parse_rule(text: &str) -> Result<TensorTypeRule, String> {
    TensorTypeRule::parse(text).map_err(|e| e.to_string())
}
