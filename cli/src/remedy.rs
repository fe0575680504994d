//! Remedies of errors, in the words of the command line: the libraries say what is wrong, and what avoids it as a value.

use convert::Remedy;
use convert::kind::Kind;

/// Advice for an error; `None` where there is none.
pub(crate) fn of(error: &anyhow::Error) -> Option<&'static str> {
    let known = error
        .chain()
        .find_map(|cause| cause.downcast_ref::<convert::Error>()?.remedy());
    Some(phrase(known?))
}

/// A message with what to do about it, in one line.
pub(crate) fn appended(message: &str, remedy: Option<Remedy>) -> String {
    match remedy {
        Some(remedy) => format!("{message}; {}", phrase(remedy)),
        None => message.to_owned(),
    }
}

fn phrase(remedy: Remedy) -> &'static str {
    match remedy {
        Remedy::AllowIncomplete => "--allow-incomplete writes it all the same",
        Remedy::AllowRequantize => "--allow-requantize accepts the loss of quality",
        Remedy::Importance => {
            "`quantsmith imatrix MODEL TEXT -o imatrix.gguf` collects one for --imatrix (more text reaches experts that \
             saw none), and --imatrix-missing uniform goes without for these"
        }
        Remedy::TargetModelDir => "--target-model-dir names it",
        Remedy::ArchFile => {
            "`convert --list` prints the known ones; a further one can be described in a file (--arch-file, \
             docs/arch-file.md)"
        }
        Remedy::KnownArchitecture => "`convert --list` prints them",
        Remedy::PreTokenizer => {
            "if one of them, or another that llama.cpp knows, is right, name it with `--pre-tokenizer NAME`"
        }
        Remedy::NoNamedTemplate => "--disable-mistral-community-chat-template writes none",
        Remedy::Base => "--base names it",
        Remedy::Part => "--part I/N says which part this is (of an array: --part \"$SLURM_ARRAY_TASK_ID/N\")",
        Remedy::QuantizeInstead => "quantize, table and perplexity take it",
        Remedy::UsedElsewhere(kind) => taker(kind),
        _ => "see the documentation of the library (docs.rs/quantsmith-convert)",
    }
}

/// Which command takes a file that is no model.
fn taker(kind: Kind) -> &'static str {
    match kind {
        Kind::Adapter => "llama.cpp applies it to a model (--lora); inspect, meta and verify take it",
        Kind::Importance => "--imatrix of quantize, convert and table takes it, and --in-file of imatrix",
        Kind::Encoder => "quantize takes it, and llama.cpp loads it beside its text model (--mmproj)",
        Kind::ControlVector => "llama.cpp applies it to a model (--control-vector); inspect and meta take it",
        Kind::Vocabulary => "tokenize takes it",
        _ => "inspect tells what it holds",
    }
}
