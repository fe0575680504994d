//! Uploading. `hf-hub` in its light form has none, and the hub's protocol for large files is that of its own tools, so
//! the command that does it is given instead.

use std::path::Path;

use crate::Name;

/// The command of the hub's own tool that makes a repository and commits a folder to it.
pub fn upload_command(dir: &Path, name: &Name, private: bool) -> String {
    let mut command = format!(
        "hf upload {} {} .",
        name.repository(),
        quoted(&dir.display().to_string())
    );
    if name.revision() != "main" {
        command += &format!(" --revision {}", quoted(name.revision()));
    }
    if private {
        command += " --private";
    }
    command
}

/// A word as a shell reads it.
fn quoted(text: &str) -> String {
    let plain = |b: u8| {
        b.is_ascii_alphanumeric() || matches!(b, b'/' | b'.' | b'-' | b'_' | b'+' | b'=' | b',' | b'@')
    };
    // No word that a tool takes for an option.
    let text = match text.starts_with('-') {
        true => format!("./{text}"),
        false => text.to_owned(),
    };
    match !text.is_empty() && text.bytes().all(plain) {
        true => text,
        false => format!("'{}'", text.replace('\'', "'\\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands() {
        let name = Name::parse("org/model").unwrap();
        assert_eq!(
            upload_command(Path::new("out"), &name, false),
            "hf upload org/model out ."
        );
        assert_eq!(
            upload_command(Path::new("a b's"), &name, true),
            "hf upload org/model 'a b'\\''s' . --private"
        );
        let branch = Name::parse("org/model@v2").unwrap();
        assert_eq!(
            upload_command(Path::new("/o"), &branch, false),
            "hf upload org/model /o . --revision v2"
        );
    }
}
