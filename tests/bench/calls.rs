//! System calls inside and outside: what the filter and the namespaces cost a program that runs.

use crate::contender::{self, Contender};
use crate::table::{Bound, head, row};
use crate::timing::{Spread, shuffled};
use crate::workplace::Workplace;
use crate::{Effort, Problem};
use std::process::Stdio;

/// What `loop.c` can do, and how the table calls it.
const KINDS: [(&str, &str); 4] = [
    ("getppid", "getppid"),
    ("open", "openat and close of a file"),
    ("ioctl", "ioctl on a terminal"),
    ("fork", "fork, exit and wait"),
];

/// Rounds of one process, of which the fastest counts. With 20 processes and 500 forks a round that makes 10^5 forks.
const ROUNDS: usize = 10;

/// Each kind of call outside and in sbx. Between them what the kernel asks for any filter, and bubblewrap, which has none: what
/// its namespaces cost.
pub(crate) fn inside_and_outside(place: &Workplace, effort: Effort) -> Result<(), Problem> {
    let processes = effort.rounds.div_ceil(20);
    let rounds = if effort.quick { 1 } else { ROUNDS };
    let title = format!("System calls, {processes} × {rounds} rounds");
    head(&title, &["", "ns a call", "quartiles", "× outside", "× shortest filter", "bound", ""]);
    for (kind, name) in KINDS {
        let Some(contenders) = contender::loops(place, kind, rounds)? else {
            row(&[name, "no `cc`", "", "", "", "≤ 1.02 ×", "not measured"]);
            continue;
        };
        let mut taken = vec![Vec::with_capacity(processes); contenders.len()];
        for round in 0..processes {
            for index in shuffled(contenders.len(), round) {
                taken[index].push(nanoseconds(place, &contenders[index])?);
            }
        }
        let spreads: Vec<_> = taken.into_iter().map(Spread::of).collect();
        let [outside, shortest, .., inside] = &spreads[..] else { continue };
        for (contender, spread) in contenders.iter().zip(&spreads) {
            let ratio = spread.median / outside.median;
            let bound = std::ptr::eq(spread, inside).then_some(Bound(1.02));
            let [limit, held] = Bound::judge(bound, Some(ratio), " ×");
            row(&[
                format!("{name}, {}", contender.name),
                format!("{:.1}", spread.median),
                format!("{:.1} – {:.1}", spread.low, spread.high),
                format!("{ratio:.3}"),
                format!("{:.3}", spread.median / shortest.median),
                limit,
                held,
            ]);
        }
    }
    Ok(())
}

fn nanoseconds(place: &Workplace, contender: &Contender) -> Result<f64, Problem> {
    let mut command = contender.command(place)?;
    let output = command.stdout(Stdio::piped()).stderr(Stdio::piped()).output();
    let output = output.map_err(|error| format!("cannot start the loop: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim().parse().map_err(|_| {
        let said = String::from_utf8_lossy(&output.stderr);
        format!("the loop ended with {}: {} {}", output.status, text.trim(), said.trim())
    })
}
