//! How output is shown in a failure.

/// The bytes as text, control characters but newline and tab escaped, each line indented.
pub(super) fn block(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "    (nothing)\n".to_owned();
    }
    let text = String::from_utf8_lossy(bytes);
    text.lines().map(|line| format!("    {}\n", plain(line))).collect()
}

/// One line with its control characters escaped.
pub(super) fn plain(line: &str) -> String {
    line.chars()
        .map(|letter| match letter {
            '\t' => "\t".to_owned(),
            letter if letter.is_control() => letter.escape_default().to_string(),
            letter => letter.to_string(),
        })
        .collect()
}
