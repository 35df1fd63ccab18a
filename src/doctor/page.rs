//! The answer: a page for people, JSON for programs.
#![forbid(unsafe_code)]

use std::fmt::Write as _;

use serde::Serialize;

use super::findings::{Finding, Status, works};
use crate::diag::escape;

/// Changes when a field changes its meaning or goes away.
const VERSION: u32 = 1;

#[derive(Serialize)]
struct Json<'a> {
    version: u32,
    works: bool,
    checks: &'a [Finding],
}

/// One JSON object.
pub fn json(findings: &[Finding]) -> String {
    let page = Json { version: VERSION, works: works(findings), checks: findings };
    serde_json::to_string_pretty(&page).unwrap_or_default() + "\n"
}

/// A line for each thing that works, and what to do about the others.
pub fn text(findings: &[Finding], color: bool) -> String {
    let mut out = String::from(match works(findings) {
        true => "Sandboxes work here.\n\n",
        false => "Sandboxes do not work here: something that they need is missing.\n\n",
    });
    let mut told: Vec<&str> = Vec::new();
    for finding in findings.iter().filter(|finding| !finding.is_untried()) {
        let word = format!("{:<8}", finding.status.word());
        let (on, off) = if color { (paint(finding.status), "\x1b[0m") } else { ("", "") };
        let _ = write!(out, "{on}{word}{off}  {}", escape(&finding.what));
        if let Some(cause) = &finding.cause {
            let _ = write!(out, ": {}", escape(cause));
        }
        out.push('\n');
        if let Some(remedy) = &finding.remedy {
            if told.contains(&remedy.as_str()) {
                let _ = writeln!(out, "          hint: as above");
                continue;
            }
            told.push(remedy);
            let mut lines = remedy.lines();
            let _ = writeln!(out, "          hint: {}", escape(lines.next().unwrap_or_default()));
            for line in lines {
                let _ = writeln!(out, "{}", format!("            {}", escape(line)).trim_end());
            }
        }
    }
    let untried: Vec<_> = findings.iter().filter(|finding| finding.is_untried()).collect();
    if !untried.is_empty() {
        let what: Vec<_> = untried.iter().map(|finding| escape(&finding.what)).collect();
        let _ = writeln!(out, "\nNot tried, because they need what is missing: {}.", what.join("; "));
    }
    out
}

fn paint(status: Status) -> &'static str {
    match status {
        Status::Ok => "\x1b[32m",
        Status::Missing => "\x1b[1;31m",
        Status::Degraded => "\x1b[1;33m",
        Status::Info => "\x1b[36m",
    }
}
