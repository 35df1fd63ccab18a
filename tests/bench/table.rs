//! Markdown tables.

use crate::say;

/// A number that must not be exceeded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bound(pub(crate) f64);

impl Bound {
    /// The last two cells of a row: the bound and whether it holds.
    pub(crate) fn judge(bound: Option<Self>, value: Option<f64>, unit: &str) -> [String; 2] {
        match (bound, value) {
            (Some(Self(limit)), Some(value)) => {
                [format!("≤ {limit}{unit}"), if value <= limit { "ok" } else { "**missed**" }.to_owned()]
            }
            (Some(Self(limit)), None) => [format!("≤ {limit}{unit}"), "not measured".to_owned()],
            (None, _) => [String::new(), String::new()],
        }
    }
}

/// Prints a heading with the columns' names.
pub(crate) fn head(title: &str, columns: &[&str]) {
    say(&format!("\n## {title}\n"));
    row(columns);
    row(&vec!["---"; columns.len()]);
}

/// Prints one row.
pub(crate) fn row<S: AsRef<str>>(cells: &[S]) {
    let cells: Vec<_> = cells.iter().map(AsRef::as_ref).collect();
    say(&format!("| {} |", cells.join(" | ")));
}
