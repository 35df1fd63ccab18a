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
    Ok(samples(place, contenders, rounds)?.into_iter().map(Spread::of).collect())
}

/// The same, with the milliseconds of each run.
pub(crate) fn samples(
    place: &Workplace,
    contenders: &[&Contender],
    rounds: usize,
) -> Result<Vec<Vec<f64>>, Problem> {
    for contender in contenders {
        contender.check(place)?;
    }
    let warm_up = rounds.div_ceil(20);
    let mut taken = vec![Vec::with_capacity(rounds); contenders.len()];
    for round in 0..warm_up + rounds {
        for index in shuffled(contenders.len(), round) {
            let time = once(place, contenders[index])?;
            if round >= warm_up {
                taken[index].push(time.as_secs_f64() * 1e3);
            }
        }
    }
    Ok(taken)
}

/// The order of a round, another one each time: what a run leaves to the kernel to clean up falls on the next one, which must
/// not always be the same.
pub(crate) fn shuffled(count: usize, round: usize) -> Vec<usize> {
    let mut order: Vec<_> = (0..count).collect();
    // A full-period generator modulo 2^32 (Numerical Recipes); its high bits are good enough for this.
    let mut state = round as u32;
    for left in (1..count).rev() {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        order.swap(left, (state >> 16) as usize % (left + 1));
    }
    order
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
