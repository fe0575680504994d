//! The files of a repository that a conversion, a tokenizer or a table reads.

use crate::listing::{Entry, Listing};
use crate::{Error, Name, Result, Wanted};

/// Kinds of weights, the first that is there being taken.
const WEIGHTS: [&str; 5] = [".safetensors", ".bin", ".pth", ".pt", ".gguf"];

/// Endings of files beside the weights.
const BESIDE: [&str; 6] = [".json", ".model", ".tiktoken", ".txt", ".jinja", ".md"];

/// Folders of other forms of the same model.
const OTHER_FORMS: [&str; 5] = ["onnx/", "openvino/", "coreml/", "original/", "metal/"];

/// Largest file that is taken for its name's ending alone.
const MAX_BESIDE: u64 = 256 << 20;

/// The files that are wanted of a repository, in order of their names.
pub(crate) fn wanted<'a>(listing: &'a Listing, name: &Name) -> Result<Vec<Wanted<'a>>> {
    let mut files = match name.path() {
        Some(path) => below(listing, path),
        None => whole(listing),
    };
    if files.is_empty() {
        return Err(nothing(listing, name));
    }
    files.sort_by(|a, b| a.file.cmp(&b.file));
    Ok(files)
}

/// A file with the shards that follow it, or the files of a folder.
fn below<'a>(listing: &'a Listing, path: &str) -> Vec<Wanted<'a>> {
    let all = listing.files.iter();
    match (all.clone().any(|e| e.file == path), shards_of(path)) {
        (true, Some((prefix, ending))) => all
            .filter(|e| shards_of(&e.file).is_some_and(|(p, end)| p == prefix && end == ending))
            .collect(),
        (true, None) => all.filter(|e| e.file == path).collect(),
        (false, _) => {
            let folder = format!("{path}/");
            all.filter(|e| e.file.starts_with(&folder)).collect()
        }
    }
}

/// The part of a shard's name that all shards share: `PREFIX` of `PREFIX-00001-of-00003.gguf`.
fn shards_of(file: &str) -> Option<(&str, &str)> {
    let (rest, ending) = file.rsplit_once('.')?;
    let (rest, count) = rest.rsplit_once("-of-")?;
    let (prefix, number) = rest.rsplit_once('-')?;
    let digits = |text: &str| text.len() == 5 && text.bytes().all(|b| b.is_ascii_digit());
    let after = file.len() - ending.len() - 1 - count.len();
    (digits(count) && digits(number)).then(|| (prefix, &file[after..]))
}

/// A model directory: its texts, and weights of one kind.
fn whole(listing: &Listing) -> Vec<Wanted<'_>> {
    let usable = |e: &&Entry| !OTHER_FORMS.iter().any(|form| e.file.starts_with(form));
    let all = || listing.files.iter().filter(usable);
    let is_weight = |e: &&Entry| WEIGHTS.iter().any(|w| e.file.ends_with(w));
    let kind = WEIGHTS
        .iter()
        .find(|w| all().any(|e| e.file.ends_with(*w) && !e.file.contains('/')));
    let kind = kind.or_else(|| WEIGHTS.iter().find(|w| all().any(|e| e.file.ends_with(*w))));
    // Mistral publishes the same weights twice.
    let twice = all().any(|e| e.file.starts_with("model") && e.file.ends_with(".safetensors"));
    let beside = |e: &&Entry| {
        let known = BESIDE.iter().any(|end| e.file.ends_with(end)) || e.file.ends_with("tokenizer.bin");
        known && e.size <= MAX_BESIDE && e.file.matches('/').count() <= 2
    };
    all()
        .filter(|e| match kind {
            Some(kind) if is_weight(e) => {
                e.file.ends_with(kind) && !(twice && e.file.starts_with("consolidated"))
            }
            _ => beside(e),
        })
        .collect()
}

fn nothing(listing: &Listing, name: &Name) -> Error {
    const SHOWN: usize = 12;
    let mut there: Vec<&str> = listing.files.iter().map(|e| e.file.as_str()).collect();
    there.sort_unstable();
    let more = there.len().checked_sub(SHOWN).filter(|&n| n > 0);
    let more = more.map_or(String::new(), |n| format!(" and {n} more"));
    there.truncate(SHOWN);
    let list = if there.is_empty() {
        "nothing".to_owned()
    } else {
        there.join(", ")
    };
    let message = match name.path() {
        Some(path) => format!("no file or folder {path:?}; there are {list}{more}"),
        None => format!("no files of a model; there are {list}{more}"),
    };
    Error::Contents {
        name: name.with_path(None).to_string(),
        message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listing::Digest;

    fn of(files: &[&str], name: &str) -> Vec<String> {
        let listing = Listing {
            commit: String::new(),
            files: files
                .iter()
                .map(|f| Entry {
                    file: (*f).to_owned(),
                    size: 1,
                    digest: Digest::Blob(String::new()),
                })
                .collect(),
        };
        match wanted(&listing, &Name::parse(name).unwrap()) {
            Ok(files) => files.iter().map(|e| e.file.clone()).collect(),
            Err(e) => vec![e.to_string()],
        }
    }

    #[test]
    fn a_model_directory() {
        let files = [
            "README.md",
            "config.json",
            "model.safetensors.index.json",
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
            "consolidated.safetensors",
            "pytorch_model.bin",
            "tokenizer.json",
            "tokenizer.model",
            "merges.txt",
            "chat_template.jinja",
            "1_Pooling/config.json",
            "onnx/model.onnx",
            "onnx/config.json",
            "original/params.json",
            "picture.png",
            "flax_model.msgpack",
            ".gitattributes",
            "2_Dense/model.safetensors",
        ];
        assert_eq!(
            of(&files, "o/m"),
            [
                "1_Pooling/config.json",
                "2_Dense/model.safetensors",
                "README.md",
                "chat_template.jinja",
                "config.json",
                "merges.txt",
                "model-00001-of-00002.safetensors",
                "model-00002-of-00002.safetensors",
                "model.safetensors.index.json",
                "tokenizer.json",
                "tokenizer.model",
            ]
        );
        let pytorch = [
            "config.json",
            "pytorch_model.bin",
            "training_args.txt",
            "rust_model.ot",
        ];
        assert_eq!(
            of(&pytorch, "o/m"),
            ["config.json", "pytorch_model.bin", "training_args.txt"]
        );
        let mistral = ["params.json", "consolidated.safetensors", "tekken.json"];
        assert_eq!(
            of(&mistral, "o/m"),
            ["consolidated.safetensors", "params.json", "tekken.json"]
        );
    }

    #[test]
    fn a_file_its_shards_and_a_folder() {
        let files = [
            "a-Q8_0.gguf",
            "b-00001-of-00002.gguf",
            "b-00002-of-00002.gguf",
            "b-00001-of-00003.gguf",
            "Q/x.gguf",
        ];
        assert_eq!(of(&files, "hf://o/m/a-Q8_0.gguf"), ["a-Q8_0.gguf"]);
        assert_eq!(
            of(&files, "hf://o/m/b-00001-of-00002.gguf"),
            ["b-00001-of-00002.gguf", "b-00002-of-00002.gguf"]
        );
        assert_eq!(of(&files, "hf://o/m/Q"), ["Q/x.gguf"]);
        let error = of(&files, "hf://o/m/none.gguf");
        assert!(
            error[0].contains("no file or folder \"none.gguf\"; there are Q/x.gguf, a-Q8_0.gguf"),
            "{error:?}"
        );
        assert_eq!(of(&[], "o/m"), ["o/m: no files of a model; there are nothing"]);
    }
}
