//! Odd front matter of model cards: what PyYAML accepts is read as PyYAML reads it.

use convert::fuzzing::front_matter;
use serde_json::{Value, json};

/// Front matter, each between its lines of `---`.
const CARDS: &[&str] = &[
    "license: mit\n",
    // Flow collections over lines, their items and brackets at the left margin.
    "tags: [a,\nb,\nc]\nlicense: mit\n",
    "tags: [\na,\nb\n]\nlicense: mit\n",
    "tags:\n[\na,\nb\n]\n",
    "tags: [\n  a, # one\n# two\n  b,\n]\nlicense: mit\n",
    "tags: [a, [b,\nc], {d: e,\nf: g}]\nname: x\n",
    "base_model: {\nname: x,\nversion: 1\n}\nlicense: mit\n",
    "datasets: [{\nname: \"a b\",\nurl: http://x/y#z\n}]\n",
    "tags: [it's,\nits']\nname: x\n",
    "tags: ['a, b',\n\"c ] d\",\n'it''s']\nname: y\n",
    "tags: [\"a \\\" ]\",\nb]\nname: y\n",
    "tags: ['a\nb', c]\nname: y\n",
    "tags: [a b,\nc\nd]\n",
    "a: [\n]\nb: {\n}\nc: x\n",
    "a: [x, y]   # comment [\nb: z\n",
    "a: &l [x,\ny]\nb: *l\n",
    "a: !!seq [x,\ny]\n",
    "- [a,\nb]\n- c\n",
    "a:\n  - [b,\nc]\n  - d\ne: f\n",
    "a:\n  b:\n    c: [d,\ne]\n    f: g\n",
    // Brackets and quotes that begin nothing.
    "name: foo [bar\nlicense: mit\n",
    "name: a{b\nversion: c]d\n",
    "name: it's [\nlicense: mit\n",
    "a: x # [ not open\nb: y\n",
    "a: x#[\nb: y\n",
    "description: |\n  text [ with\n  brackets {\nlicense: mit\n",
    "description: >\n  text [ with\n\n  brackets\nlicense: mit\n",
    "a:\n  description: |\n    x [\n  b: [c,\nd]\n",
    // Quoted scalars over lines.
    "description: \"one\n  two\"\nlicense: mit\n",
    "description: \"one\ntwo\n\nthree\"\nlicense: mit\n",
    "description: 'one\ntwo'\nlicense: mit\n",
    "\"a key\": x\n'other': [y,\nz]\n",
    // Scalars of YAML 1.1.
    "a: yes\nb: 012\nc: 1_000\nd: 1.5\ne: 2024-01-02\nf: 12:30:45\ng: 0x1F\nh: .inf\ni: ~\nj: null\nk:\nl: on\n",
    "language:\n- en\n- no\n- 'yes'\n",
    "language: [en, 'no', null]\n",
    "tags:\n- a\n-   b\n- c: d\n  e: f\n",
    "a: {b: c, d: [e, f]}\n",
    "a: {b, c: d}\n",
    "a: [b: c, d]\n",
    "license: other\nlicense_link: https://x.org/a?b=c#d\n",
    "model-index:\n- name: x\n  results:\n  - task:\n      type: y\n    metrics:\n    - type: acc\n      value: 0.5\n",
    "widget:\n- text: \"a: b\"\n- text: 'c'\n",
    "a: \"x\\u00e9\\n\"\n",
    "a: \u{1f600}\nb: caf\u{e9}\n",
    "? a\n: b\n",
    "",
    "# only a comment\n",
    "a: b\n\n\n\nc: d\n",
    "a: b\t\nc:\td\n",
    "a: 'b'   \nc: \"d\" # e\n",
    "thumbnail: \"https://x/y.png\"\ntags:\n  - x\n  - \"y\"\n",
    "a: -b\nc: -1\nd: +2\ne: 1e3\nf: 1.0e+3\n",
    "a: b: c\n",
    "a: [b\nc: d\n",
    "a: @b\n",
    "a: `b`\n",
    "a: %b\n",
    "{a: b,\nc: [d,\ne]}\n",
    "a: [b]c\n",
    "\"a\": [b,\n\"c\": d]\n",
];

/// Numbers and their like alike.
fn marked(value: Value) -> Value {
    match value {
        Value::Array(items) => items.into_iter().map(marked).collect(),
        Value::Object(map) if map.len() == 1 && map.contains_key("other") => json!({"other": true}),
        Value::Object(map) => Value::Object(map.into_iter().map(|(k, v)| (k, marked(v))).collect()),
        other => other,
    }
}

#[test]
fn front_matter_is_read_as_pyyaml_reads_it() {
    let Some(python) = oracle::python() else { return };
    let cards: Vec<String> = CARDS
        .iter()
        .map(|yaml| format!("---\n{yaml}---\n# A model\n"))
        .collect();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cards.json");
    std::fs::write(&path, json!(cards).to_string()).unwrap();
    let expected: Vec<Value> =
        serde_json::from_str(&python.run("front_matter.py", [path.as_os_str()]).unwrap()).unwrap();
    assert_eq!(expected.len(), cards.len());
    let mut refused = 0;
    let mut wrong = Vec::new();
    for (yaml, expected) in CARDS.iter().zip(expected) {
        let ours = front_matter(&format!("---\n{yaml}---\n"));
        let same = match (&ours, &expected) {
            // Nothing at all is an empty card, and what is no mapping is none.
            (Ok(Value::Null | Value::Array(_)), Value::Object(map)) => map.is_empty(),
            (Ok(Value::Null), Value::Null) => true,
            (Ok(ours), expected) => marked(ours.clone()) == *expected,
            (Err(_), Value::Null) => {
                refused += 1;
                true
            }
            (Err(_), _) => false,
        };
        if !same {
            wrong.push(format!("{yaml:?}: ours {ours:?}, PyYAML {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(refused < 8, "{refused}");
}
