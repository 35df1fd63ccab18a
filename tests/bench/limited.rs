//! What limits cost a start: in the keeper's cgroup below a user's systemd, against a scope by systemd-run around bubblewrap;
//! where there is no such systemd, in a stand-in for the keeper's cgroup, which has no controllers but all the same steps.

use crate::contender::{self, Contender};
use crate::sections::{COLUMNS, line};
use crate::table::{Bound, head};
use crate::timing::interleaved;
use crate::workplace::Workplace;
use crate::{Effort, Problem, say};
use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Names the stand-in to the benchmark when it starts itself again as another user.
const VARIABLE: &str = "SBX_BENCH_CGROUP";

/// A cgroup that an ordinary user may divide, and the one in it that this benchmark runs in.
#[derive(Debug)]
pub(crate) struct StandIn {
    path: PathBuf,
}

impl StandIn {
    /// Makes one below version 2 of cgroups, as root. Nothing where that can't be, or need not.
    pub(crate) fn make(uid: u32, gid: u32) -> Option<Self> {
        let tops = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"].map(Path::new);
        let top = tops.into_iter().find(|top| top.join("cgroup.subtree_control").exists())?;
        let path = top.join(format!("sbx-bench-{}", std::process::id()));
        let made = fs::create_dir(&path).and_then(|()| fs::create_dir(path.join("own")));
        let stand_in = Self { path };
        made.ok()?;
        for dir in [stand_in.path.clone(), stand_in.path.join("own")] {
            for file in [".", "cgroup.procs", "cgroup.subtree_control"] {
                chown(dir.join(file), Some(uid), Some(gid)).ok()?;
            }
        }
        Some(stand_in)
    }

    /// The variable that tells of it.
    pub(crate) fn variable(&self) -> (&'static str, &Path) {
        (VARIABLE, &self.path)
    }

    /// Moves a process there: only who is below can start others there.
    pub(crate) fn adopt(&self, pid: u32) -> Result<(), Problem> {
        let procs = self.path.join("own/cgroup.procs");
        fs::write(&procs, pid.to_string())
            .map_err(|error| format!("cannot write {}: {error}", procs.display()))
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        let _ = fs::remove_dir(self.path.join("own"));
        let _ = fs::remove_dir(&self.path);
    }
}

/// Root moves this process there while it already runs.
fn wait_until_adopted(path: &str) -> Result<(), Problem> {
    let name = Path::new(path).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let is_there = || fs::read_to_string("/proc/self/cgroup").is_ok_and(|text| text.contains(&name));
    for _ in 0..500 {
        if is_there() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Err(format!("this process is not moved to {path}"))
}

/// Starts without limits, with them, and by the usual means.
pub(crate) fn starts(place: &Workplace, effort: Effort) -> Result<(), Problem> {
    let limits = "--memory 256M --cpus 1.5 --pids 200".split(' ').map(str::to_owned).collect();
    let (options, peer): (Vec<String>, Option<Contender>) =
        match (place.has_manager(), std::env::var(VARIABLE)) {
            (true, _) => (limits, Some(contender::systemd_run(place))),
            (false, Ok(path)) => {
                wait_until_adopted(&path)?;
                let set = [format!("limits.cgroup-parent={path}"), "limits.cgroup=require".to_owned()];
                (set.into_iter().flat_map(|set| ["--set".to_owned(), set]).collect(), None)
            }
            (false, Err(_)) => {
                say("\nThere is no cgroup of this user's, so nothing is measured of limits.");
                return Ok(());
            }
        };
    // What has a repository has placeholders, and with them a janitor, as everything with a cgroup has.
    let repository = place.project().join(".git");
    fs::create_dir_all(&repository)
        .map_err(|error| format!("cannot make {}: {error}", repository.display()))?;
    let project = contender::sbx_default(place);
    let small = contender::sbx_same(place)?.named("sbx, the smallest sandbox");
    let pairs = [project, small].map(|plain| {
        let limited = plain.clone().named(&format!("{}, limited", plain.name)).with_options(&options);
        [plain, limited]
    });
    head(
        &format!("Start with limits, {} runs", effort.rounds),
        &[COLUMNS[0], COLUMNS[1], COLUMNS[2], "× unlimited", COLUMNS[4], COLUMNS[5]],
    );
    let contenders: Vec<&Contender> = pairs.iter().flatten().chain(&peer).collect();
    let spreads = interleaved(place, &contenders, effort.rounds)?;
    for (pair, (spreads, bound)) in pairs.iter().zip(spreads.chunks(2).zip([Some(Bound(1.15)), None])) {
        let base = Some(spreads[0].median);
        line(&pair[0].name, spreads[0], base, None);
        line(&pair[1].name, spreads[1], base, bound);
    }
    if let (Some(peer), Some(spread)) = (&peer, spreads.get(4)) {
        line(&peer.name, *spread, None, None);
        let name = format!("{}, × that", pairs[1][1].name);
        line(&name, spreads[3], Some(spread.median), Some(Bound(0.5)));
    }
    Ok(())
}
