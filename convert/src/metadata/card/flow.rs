//! Flow collections and quoted scalars that go on at the left margin. YAML 1.1, as PyYAML reads it, takes no notice of
//! indentation inside them; the YAML 1.2 parser used here does, so that their lines are indented before it sees them.
//! Spaces at the start of such a line mean nothing.

/// Deeper than any block that a card is read to.
const INDENT: &str = "                                                                                ";

/// The construct that a line begins inside of.
enum Inside {
    Block,
    /// Collections that are open.
    Flow(usize),
    /// A quoted scalar, and the collections around it.
    Quoted(char, usize),
    /// A literal or folded scalar, whose lines are indented by more than this.
    Scalar(usize),
}

/// The text with every line indented that begins inside a flow collection or a quoted scalar.
pub(super) fn indented(yaml: &str) -> String {
    let mut out = String::with_capacity(yaml.len());
    let mut inside = Inside::Block;
    for line in yaml.split_inclusive('\n') {
        let indent = line.len() - line.trim_start_matches(' ').len();
        if let Inside::Scalar(parent) = inside
            && (indent > parent || line.trim().is_empty())
        {
            out.push_str(line);
            continue;
        }
        inside = match inside {
            Inside::Flow(depth) => {
                out.push_str(INDENT);
                in_flow(line, depth)
            }
            Inside::Quoted(quote, depth) => {
                // An empty line in a quoted scalar is a line break.
                if !line.trim().is_empty() {
                    out.push_str(INDENT);
                }
                in_quotes(line, quote, depth, indent)
            }
            Inside::Block | Inside::Scalar(_) => in_block(line, indent),
        };
        out.push_str(line);
    }
    out
}

/// Scans block content: nodes after indicators and keys.
fn in_block(text: &str, indent: usize) -> Inside {
    let mut rest = text.trim_start();
    loop {
        let Some(first) = rest.chars().next() else {
            return Inside::Block;
        };
        let after = &rest[first.len_utf8()..];
        let is_indicator = after.starts_with([' ', '\n']) || after.is_empty();
        match first {
            '#' => return Inside::Block,
            '-' | '?' | ':' if is_indicator => rest = after.trim_start(),
            '&' | '!' | '*' => match rest.split_once([' ', '\n']) {
                Some((_, next)) => rest = next.trim_start(),
                None => return Inside::Block,
            },
            '|' | '>' => return Inside::Scalar(indent),
            '"' | '\'' => return in_quotes(after, first, 0, indent),
            '[' | '{' => return in_flow(after, 1),
            _ => match plain(rest) {
                Some(next) => rest = next,
                None => return Inside::Block,
            },
        }
    }
}

/// Text after the key that a plain scalar is; `None` when it is a value.
fn plain(text: &str) -> Option<&str> {
    let mut before = ' ';
    for (at, c) in text.char_indices() {
        match c {
            ':' if text[at + 1..].starts_with([' ', '\n']) => return Some(text[at + 1..].trim_start()),
            '#' if before == ' ' => return None,
            '\n' => return None,
            _ => before = c,
        }
    }
    None
}

fn in_quotes(text: &str, quote: char, depth: usize, indent: usize) -> Inside {
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if c == '\\' && quote == '"' {
            chars.next();
        } else if c == quote {
            if quote == '\'' && chars.peek().is_some_and(|(_, next)| *next == quote) {
                chars.next();
                continue;
            }
            let rest = &text[at + 1..];
            return match depth {
                0 => in_block(rest, indent),
                _ => in_flow(rest, depth),
            };
        }
    }
    Inside::Quoted(quote, depth)
}

fn in_flow(text: &str, mut depth: usize) -> Inside {
    // Whether a token may begin here: a quote inside a plain scalar is an apostrophe.
    let (mut begins, mut before) = (true, ' ');
    for (at, c) in text.char_indices() {
        match c {
            '[' | '{' => {
                depth += 1;
                begins = true;
            }
            ']' | '}' => {
                depth -= 1;
                if depth == 0 {
                    return in_block(&text[at + 1..], 0);
                }
                begins = false;
            }
            ',' | ':' => begins = true,
            '#' if before == ' ' || at == 0 => return Inside::Flow(depth),
            '"' | '\'' if begins => return in_quotes(&text[at + 1..], c, depth, 0),
            c if c.is_whitespace() => {}
            _ => begins = false,
        }
        before = c;
    }
    Inside::Flow(depth)
}
