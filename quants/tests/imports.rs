//! The modules of this crate have no import circle: neither its files, nor its rooms (the folders and files beside
//! `lib.rs`). In the other crates, what lies in any one folder has none, whatever it has from the module of the folder
//! itself.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

type Graph = BTreeMap<String, BTreeSet<String>>;

/// The modules below a folder, by path (`isa::lanes`; the root is empty), with their text. Test modules are left out.
fn modules(folder: &Path, path: &str, found: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap().path();
        let name = entry.file_stem().unwrap().to_str().unwrap().to_owned();
        if name == "tests" {
            continue;
        }
        let module = match name.as_str() {
            "lib" | "mod" => path.to_owned(),
            _ if path.is_empty() => name,
            _ => format!("{path}::{name}"),
        };
        if entry.is_dir() {
            modules(&entry, &module, found);
        } else if entry.extension().is_some_and(|e| e == "rs") {
            found.insert(module, fs::read_to_string(&entry).unwrap());
        }
    }
}

/// The text without comments, and without items that only tests have.
fn code(text: &str) -> String {
    let mut code = String::new();
    let mut lines = text.lines().map(|line| line.split("//").next().unwrap());
    while let Some(line) = lines.next() {
        if !(line.trim_start().starts_with("#[cfg(") && line.contains("test") && !line.contains("any(")) {
            code.push_str(line);
            code.push('\n');
            continue;
        }
        let mut depth = 0;
        for line in lines.by_ref() {
            depth += line.matches('{').count() as i32 - line.matches('}').count() as i32;
            if depth == 0 {
                break;
            }
        }
    }
    code
}

/// The paths that begin at `tree`, the text after `crate`, `super` or a name: `::a::{b, c::d}` gives two.
fn paths(tree: &str) -> Vec<String> {
    let name_end = |text: &str| {
        text.find(|c: char| !c.is_alphanumeric() && c != '_')
            .unwrap_or(text.len())
    };
    let Some(rest) = tree.strip_prefix("::") else {
        return vec![String::new()];
    };
    let Some(group) = rest.strip_prefix('{') else {
        let end = name_end(rest);
        return paths(&rest[end..])
            .into_iter()
            .map(|path| format!("::{}{path}", &rest[..end]))
            .collect();
    };
    let mut depth = 1;
    let mut start = 0;
    let mut found = Vec::new();
    for (at, c) in group.char_indices() {
        depth += i32::from(c == '{') - i32::from(c == '}');
        if depth == 0 || depth == 1 && c == ',' {
            found.extend(paths(&format!("::{}", group[start..at].trim())));
            start = at + 1;
        }
        if depth == 0 {
            break;
        }
    }
    found
}

/// The modules that a module's text names.
fn imports(module: &str, text: &str, all: &BTreeMap<String, String>) -> BTreeSet<String> {
    let code = code(text);
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let parent = |module: &str| {
        module
            .rsplit_once("::")
            .map_or("", |(parent, _)| parent)
            .to_owned()
    };
    let mut found = BTreeSet::new();
    let mut at = 0;
    while let Some(start) = code[at..].find(is_name).map(|start| at + start) {
        let end = code[start..]
            .find(|c| !is_name(c))
            .map_or(code.len(), |end| start + end);
        at = end;
        if !code[end..].starts_with("::") || code[..start].ends_with("::") {
            continue;
        }
        let mut rest = &code[end..];
        let mut base = match &code[start..end] {
            "crate" => String::new(),
            "self" => module.to_owned(),
            "super" => parent(module),
            child => {
                let child = join(module, child);
                if !all.contains_key(&child) {
                    continue;
                }
                child
            }
        };
        while let Some(up) = rest.strip_prefix("::super") {
            base = parent(&base);
            rest = up;
        }
        for path in paths(rest) {
            let mut target = base.clone();
            for name in path.split("::").skip(1) {
                let next = join(&target, name);
                if !all.contains_key(&next) {
                    break;
                }
                target = next;
            }
            found.insert(target);
        }
    }
    found.remove(module);
    found
}

fn join(module: &str, name: &str) -> String {
    if module.is_empty() {
        name.to_owned()
    } else {
        format!("{module}::{name}")
    }
}

fn graph(all: &BTreeMap<String, String>) -> Graph {
    all.iter()
        .map(|(module, text)| (module.clone(), imports(module, text, all)))
        .collect()
}

/// The graph of the rooms: of the first names of modules.
fn rooms(files: &Graph) -> Graph {
    let room = |module: &String| module.split("::").next().unwrap().to_owned();
    let mut rooms = Graph::new();
    for (from, to) in files {
        let edges = rooms.entry(room(from)).or_default();
        edges.extend(to.iter().map(room).filter(|to| *to != room(from)));
    }
    rooms
}

/// The graph of what lies in a folder: of the names that follow its own.
fn siblings(files: &Graph, folder: &str) -> Graph {
    let name = |module: &String| {
        let rest = match folder {
            "" => Some(module.as_str()).filter(|module| !module.is_empty())?,
            folder => module.strip_prefix(folder)?.strip_prefix("::")?,
        };
        Some(rest.split("::").next()?.to_owned())
    };
    let mut siblings = Graph::new();
    for (from, to) in files {
        let Some(from) = name(from) else { continue };
        let edges = siblings.entry(from.clone()).or_default();
        edges.extend(to.iter().filter_map(name).filter(|to| *to != from));
    }
    siblings
}

/// A circle, if there is one.
fn circle(graph: &Graph) -> Option<Vec<String>> {
    fn visit(graph: &Graph, node: &String, open: &mut Vec<String>, done: &mut BTreeSet<String>) -> bool {
        if open.contains(node) {
            open.push(node.clone());
            return true;
        }
        if !done.insert(node.clone()) {
            return false;
        }
        open.push(node.clone());
        let found = graph[node].iter().any(|next| visit(graph, next, open, done));
        if !found {
            open.pop();
        }
        found
    }
    let mut done = BTreeSet::new();
    graph.keys().find_map(|node| {
        let mut open = Vec::new();
        visit(graph, node, &mut open, &mut done).then(|| {
            let start = open.iter().position(|node| Some(node) == open.last());
            open.split_off(start.expect("its own end"))
        })
    })
}

#[test]
fn modules_have_no_import_circle() {
    let mut all = BTreeMap::new();
    modules(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), "", &mut all);
    let files = graph(&all);
    // What the parser has to see, lest it see nothing.
    for (from, to) in [
        ("", "codec"),
        ("codec", "formats"),
        ("formats", "formats::q4_k"),
        ("formats::q4_k", "formats::affine_k"),
        ("formats::affine_k", "search::affine"),
        ("search::affine", "search::affine::lanes"),
        ("search::affine::lanes", "search::affine::scalar"),
        ("search::affine::lanes", "isa::lanes"),
        ("isa::x86_64::avx2::lanes", "isa::lanes"),
    ] {
        assert!(files[from].contains(to), "{from} imports {to}: {:?}", files[from]);
    }
    assert_eq!(circle(&files), None, "files");
    assert_eq!(circle(&rooms(&files)), None, "rooms");
}

#[test]
fn circles_are_found() {
    let all = |sources: &[(&str, &str)]| {
        sources
            .iter()
            .map(|(module, text)| ((*module).to_owned(), (*text).to_owned()))
            .collect::<BTreeMap<_, _>>()
    };
    let files = [
        ("", "mod a; mod b; use b::X;"),
        (
            "a",
            "use crate::b::{Y, c::Z};\n#[cfg(test)]\nmod tests {\n    use crate::d::W;\n}\n",
        ),
        ("b", "mod c;\npub use c::Z; // use crate::d;"),
        ("b::c", ""),
        ("d", "use super::a::V;"),
    ];
    assert_eq!(circle(&graph(&all(&files))), None);
    let edges = graph(&all(&files));
    assert_eq!(edges["a"], ["b", "b::c"].map(str::to_owned).into());

    let mut direct = files;
    direct[3].1 = "fn f() { crate::d::w() }";
    let found = circle(&graph(&all(&direct))).expect("a -> b::c -> d -> a");
    assert_eq!(found.first(), found.last());

    let mut with_parent = files;
    with_parent[3].1 = "use super::Y;";
    assert!(circle(&graph(&all(&with_parent))).is_some(), "b <-> b::c");
    assert_eq!(circle(&rooms(&graph(&all(&with_parent)))), None);

    // Rooms may form a circle that their files do not.
    let mut across = all(&files);
    across.insert("a::x".into(), String::new());
    across.insert("b::y".into(), "use crate::a::x::T;".into());
    assert_eq!(circle(&graph(&across)), None);
    assert!(circle(&rooms(&graph(&across))).is_some(), "a <-> b");

    // A circle in a folder, by way of a file below.
    let mut below = all(&files);
    below.insert("b::d".into(), "use super::e::f::T;".into());
    below.insert("b::e".into(), String::new());
    below.insert("b::e::f".into(), "use crate::b::d::U;".into());
    assert!(circle(&siblings(&graph(&below), "b")).is_some(), "b::d <-> b::e");
}

/// The other crates.
const CRATES: [&str; 14] = [
    "assets",
    "benches",
    "capi",
    "cli",
    "convert",
    "gguf",
    "hub",
    "imatrix",
    "optimize",
    "oracle",
    "publish",
    "python",
    "quantsmith",
    "reference",
];

/// A packed crate has no others beside it.
#[test]
fn no_folder_of_another_crate_has_an_import_circle() {
    for name in CRATES {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("..")
            .join(name)
            .join("src");
        if !folder.exists() {
            continue;
        }
        let mut all = BTreeMap::new();
        modules(&folder, "", &mut all);
        let files = graph(&all);
        if name == "convert" {
            for (from, to) in [
                ("source::hf::stacks", "source::hf::parts"),
                ("source::hf::quantized::methods", "source::hf::stacks"),
                ("source::hf::fuse", "source::hf::content"),
                ("export::tokenizer", "export::byte_level"),
                ("tokenizer::hf", "tokenizer::files"),
                ("distribute::document", "distribute::layout"),
                ("arch::files::print", "arch::models"),
                ("arch::models::llama", "arch::models::eagle3"),
            ] {
                assert!(files[from].contains(to), "{from} imports {to}: {:?}", files[from]);
            }
        }
        let parent = |module: &String| {
            module
                .rsplit_once("::")
                .map_or("", |(parent, _)| parent)
                .to_owned()
        };
        let folders: BTreeSet<String> = files.keys().map(parent).collect();
        for folder in folders {
            assert_eq!(circle(&siblings(&files, &folder)), None, "{name}, in {folder:?}");
        }
    }
}
