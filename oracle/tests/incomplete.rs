//! Configurations that leave keys out against the stock converter's files, in which they have transformers' defaults.

use std::path::Path;

use oracle::architectures::{Made, compare_digests, convert};
use serde_json::Value;

/// `py/incomplete_digests.py` makes it.
const DIGESTS: &str = include_str!("../digests/incomplete.txt");

/// Takes the key at a path out of a directory's configuration, or makes it null.
fn drop_key(dir: &Path, path: &str) {
    let (path, is_null) = match path.strip_suffix("=null") {
        Some(path) => (path, true),
        None => (path, false),
    };
    let file = dir.join("config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let (outer, key) = path.rsplit_once('/').unwrap_or(("", path));
    let holder = outer
        .split('/')
        .filter(|name| !name.is_empty())
        .fold(&mut config, |at, name| &mut at[name]);
    let holder = holder.as_object_mut().unwrap();
    assert!(holder.contains_key(key), "{path}");
    if is_null {
        holder.insert(key.to_owned(), Value::Null);
    } else {
        holder.shift_remove(key);
    }
    std::fs::write(&file, config.to_string()).unwrap();
}

#[test]
fn keys_that_are_left_out_are_the_stock_converters() {
    compare_digests(DIGESTS, 30, |[_, key, _], dir, out| {
        drop_key(dir, key);
        convert(dir, out, false).map(|_| Made::File)
    });
}
