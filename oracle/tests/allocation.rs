//! Types chosen for a model: the saved recipe makes the same file in stock llama.cpp.

use std::path::Path;

use imatrix::ImportanceMatrix;
use serde_json::json;

const DEMO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../assets/demo");

fn quantsmith(args: &[&str]) {
    let words = std::iter::once("quantsmith").chain(args.iter().copied());
    let code = quantsmith_cli::cli::run(words.map(std::ffi::OsString::from));
    assert_eq!(code, 0, "{args:?}");
}

#[test]
fn stock_makes_the_same_file_of_a_recipe() {
    let Some(python) = oracle::python() else { return };
    let dir = tempfile::tempdir().unwrap();
    let paths =
        ["whole", "base", "matrix", "recipe", "ours", "stock", "jobs"].map(|name| dir.path().join(name));
    let [whole, base, matrix, recipe, ours, stock, jobs] =
        paths.each_ref().map(|path| path.to_str().unwrap());
    let words = Path::new(DEMO).join("calibration.txt");
    let words = words.to_str().unwrap();
    quantsmith(&["convert", DEMO, whole]);
    quantsmith(&["quantize", "--prune-layers", "3,4,5,6,7", whole, base, "COPY"]);
    quantsmith(&["imatrix", base, words, "-o", matrix, "--chunks", "4"]);
    for (target, preset) in [("3.3", "Q2_K"), ("4.6", "IQ4_XS")] {
        let size = [
            "quantize",
            "--imatrix",
            matrix,
            "--imatrix-name",
            "path",
            "--target-bpw",
            target,
            "--save-recipe",
            recipe,
        ];
        let text = [
            "--sensitivity-text",
            words,
            "--sensitivity-chunks",
            "4",
            "--check-chunks",
            "0",
        ];
        quantsmith(&[&size[..], &text, &[base, ours, preset]].concat());

        let rules: Vec<(String, String)> = std::fs::read_to_string(recipe)
            .unwrap()
            .split_ascii_whitespace()
            .map(|rule| rule.split_once('=').unwrap())
            .map(|(pattern, ty)| (pattern.to_owned(), ty.to_owned()))
            .collect();
        let types: std::collections::HashSet<&String> = rules.iter().map(|(_, ty)| ty).collect();
        assert!(types.len() > 2, "{types:?}");
        let of_matrix = ImportanceMatrix::load(Path::new(matrix)).unwrap();
        let record = |key: &str, ty: &str, value: serde_json::Value| {
            json!([format!("quantize.imatrix.{key}"), ty, value])
        };
        let job = json!([{
            "input": base,
            "output": stock,
            "file_type": convert::recipe::Preset::parse(preset).unwrap().info().file_type,
            "imatrix": matrix,
            "tensor_types": rules,
            "kv_overrides": [
                record("file", "str", json!(&matrix[..matrix.len().min(127)])),
                record("dataset", "str", json!(of_matrix.datasets[0])),
                record("entries_count", "int", json!(of_matrix.entries.len())),
                record("chunks_count", "int", json!(of_matrix.chunk_count)),
            ],
        }]);
        std::fs::write(jobs, job.to_string()).unwrap();
        let printed = python.run("quantize_many.py", [&jobs]).unwrap();
        assert_eq!(printed.trim(), "[0]");
        assert!(
            std::fs::read(ours).unwrap() == std::fs::read(stock).unwrap(),
            "{preset} at {target} bits: bytes differ"
        );
        std::fs::remove_file(ours).unwrap();
    }
}
