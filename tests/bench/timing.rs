//! Runs commands in turns and takes the medians.

use crate::Problem;
use crate::contender::Contender;
use crate::workplace::Workplace;
use std::time::{Duration, Instant};

/// The middle of many runs, and the quarters around it, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spread {
    pub(crate) low: f64,
    pub(crate) median: f64,
    pub(crate) high: f64,
}

impl Spread {
    /// Of at least one number.
    pub(crate) fn of(mut numbers: Vec<f64>) -> Self {
        numbers.sort_by(f64::total_cmp);
        let at = |quarter: usize| numbers[(numbers.len() - 1) * quarter / 4];
        Self { low: at(1), median: at(2), high: at(3) }
    }
}

/// Runs each contender this often, in turns, after some runs that don't count.
pub(crate) fn interleaved(
    place: &Workplace,
    contenders: &[&Contender],
    rounds: usize,
) -> Result<Vec<Spread>, Problem> {
    for contender in contenders {
        contender.check(place)?;
    }
    let warm_up = rounds.div_ceil(20);
    let mut taken = vec![Vec::with_capacity(rounds); contenders.len()];
    for round in 0..warm_up + rounds {
        for (contender, taken) in contenders.iter().zip(&mut taken) {
            let time = once(place, contender)?;
            if round >= warm_up {
                taken.push(time.as_secs_f64() * 1e3);
            }
        }
    }
    Ok(taken.into_iter().map(Spread::of).collect())
}

fn once(place: &Workplace, contender: &Contender) -> Result<Duration, Problem> {
    let mut command = contender.command(place)?;
    let start = Instant::now();
    let status = command.status();
    let took = start.elapsed();
    match status {
        Ok(status) if status.success() => Ok(took),
        Ok(status) => {
            Err(format!("{} ended with {status} in the middle of the measurements", contender.name))
        }
        Err(error) => Err(format!("cannot start {}: {error}", contender.name)),
    }
}
