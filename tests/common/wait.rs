//! Waiting for something to become true.

use libtest_mimic::Failed;
use std::time::{Duration, Instant};

/// Asks until there is an answer, for ten seconds at most; `what` names it in the failure.
pub fn wait_for<T>(what: &str, ask: impl FnMut() -> Option<T>) -> Result<T, Failed> {
    wait_for_within(Duration::from_secs(10), what, ask)
}

/// Asks until there is an answer, for so long at most.
pub fn wait_for_within<T>(
    limit: Duration,
    what: &str,
    mut ask: impl FnMut() -> Option<T>,
) -> Result<T, Failed> {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return Ok(answer);
        }
        if start.elapsed() > limit {
            return Err(format!("waited {} s in vain for {what}", limit.as_secs()).into());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
