//! Names in messages.

/// Most names listed in one message.
const MAX_LISTED: usize = 5;

/// The first names, and how many more there are.
pub(crate) fn listed<S: AsRef<str>>(names: impl ExactSizeIterator<Item = S>) -> String {
    let more = names.len().saturating_sub(MAX_LISTED);
    let mut text = String::new();
    for name in names.take(MAX_LISTED) {
        if !text.is_empty() {
            text += ", ";
        }
        text += name.as_ref();
    }
    if more > 0 {
        text += &format!(", and {more} more");
    }
    text
}
