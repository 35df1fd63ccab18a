//! Waiting for something to become true.

use libtest_mimic::Failed;
use std::time::{Duration, Instant};

/// Asks until there is an answer, for ten seconds at most; `what` names it in the failure.
pub fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> Result<T, Failed> {
    const LIMIT: Duration = Duration::from_secs(10);
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return Ok(answer);
        }
        if start.elapsed() > LIMIT {
            return Err(format!("waited {} s in vain for {what}", LIMIT.as_secs()).into());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
