//! A: the caller's terminal.

use crate::row::{Attempt, Reach, Row};
use crate::walls;
use libtest_mimic::Failed;

pub(crate) fn rows() -> Vec<Row> {
    vec![Row::new("A0 an example that goes", [walls::FILTER], example)]
}

fn example(attempt: &Attempt<'_>) -> Result<Reach, Failed> {
    let how = attempt.traced("ioctl", &[], &["tiocsti"])?;
    Ok(Reach::through_if(how != "EPERM"))
}
