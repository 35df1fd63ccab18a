//! Many starts at a time, each with limits: none fails, no cgroup and no entry is left.
//!
//! `SBX_LIMITED_STARTS` sets how many; 100 at 16 at a time.

use crate::common::{Case, Need, User, Verdict, case, output, wait_for};
use crate::stage::{keeper, list, no_group_is_left, no_keeper, systemctl};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(starts_leave_no_cgroup).needs(Need::Delegation),
        case!(two_starts_share_a_keeper).needs(Need::Delegation).needs(Need::Other(no_keeper)),
    ]
}

fn starts_leave_no_cgroup(user: &User) -> Verdict {
    let count = std::env::var("SBX_LIMITED_STARTS").ok().and_then(|text| text.parse().ok()).unwrap_or(100);
    let next = AtomicU32::new(0);
    let one_after_another = || -> Result<(), String> {
        while next.fetch_add(1, Ordering::Relaxed) < count {
            let mut sbx = user.sbx();
            sbx.args(["--memory", "64M", "--pids", "20", "--cpus", "2", "sh", "-c", "exit 7"]);
            let said = |failure: libtest_mimic::Failed| failure.message().unwrap_or_default().to_owned();
            output(&mut sbx).map_err(said)?.exits(7).map_err(said)?.stderr_is("").map_err(said)?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..16).map(|_| scope.spawn(one_after_another)).collect();
        threads.into_iter().try_for_each(|thread| thread.join().unwrap_or(Err("a thread panicked".into())))
    })?;
    no_group_is_left(user)?;
    wait_for("nobody to be listed", || (list(user).ok()?.as_array()?.is_empty()).then_some(()))
}

/// At the same instant, and without one that runs already.
fn two_starts_share_a_keeper(user: &User) -> Verdict {
    for _ in 0..3 {
        systemctl(user, &["stop", "sbx-keeper.service"])?;
        wait_for("the keeper's end", || (!keeper(user).join("keeper").exists()).then_some(()))?;
        thread::scope(|scope| {
            let start = || -> Result<(), String> {
                let said = |failure: libtest_mimic::Failed| failure.message().unwrap_or_default().to_owned();
                let out = output(user.sbx().args(["--memory", "64M", "true"])).map_err(said)?;
                out.exits(0).and_then(|out| out.stderr_is("")).map(drop).map_err(said)
            };
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(start)).collect();
            threads
                .into_iter()
                .try_for_each(|thread| thread.join().unwrap_or(Err("a thread panicked".into())))
        })?;
        let listed = systemctl(user, &["list-units", "--all", "--plain", "--no-legend", "sbx-keeper*"])?;
        let count = listed.text().lines().count();
        listed.check(count == 1, || format!("one unit, not {count}"))?;
    }
    no_group_is_left(user)
}
