//! H3, H5: what a sandbox could use up.

use crate::common::{Need, output};
use crate::probe;
use crate::row::{Attempt, Reach, Row};
use crate::walls::{self, Wall};
use libtest_mimic::Failed;
use sbx::plan::MountOp;

pub(crate) fn rows() -> Vec<Row> {
    vec![
        Row::new("H3 fills memory by files", [SIZES], fill),
        Row::new("H5 all inotify of the user", [WATCHES], |attempt| {
            Reach::of_all([
                ("instances", used_up(attempt, "inotify-instances", "-24")?),
                ("watches", used_up(attempt, "inotify-watches", "-28")?),
            ])
        }),
        Row::new("H5b all fanotify of the user", [walls::FILTER], |attempt| {
            used_up(attempt, "fanotify", "-24").map(Reach::through_if)
        })
        .needs(Need::Kernel(5, 13)),
    ]
}

const MANY: u64 = 1024;

/// Limits of what a tmpfs holds.
const SIZES: Wall = Wall {
    name: "sizes",
    down: |plan| {
        (plan.root.size, plan.root.inodes) = (plan.root.size * MANY, plan.root.inodes * MANY);
        for mount in &mut plan.mounts {
            if let MountOp::Tmpfs { size, inodes, .. } = &mut mount.op {
                (*size, *inodes) = (*size * MANY, *inodes * MANY);
            }
        }
    },
};

/// Ceilings on inotify in the user namespace.
const WATCHES: Wall = Wall { name: "ceilings", down: |plan| plan.limits.watches = None };

fn fill(attempt: &Attempt<'_>) -> Result<Reach, Failed> {
    let options = ["--set", "filesystem.tmpfs=[{ path = \"/small\", size = \"1MiB\" }]"];
    let way = |call, words: &[&str]| Ok::<_, Failed>(attempt.traced(call, &options, words)? != "ENOSPC");
    Reach::of_all([
        ("bytes", way("fallocate", &["fill", "/small/file", "2097152"])?),
        ("files", way("mkdirat", &["make-directories", "/small", "512"])?),
        ("bytes of the root", way("fallocate", &["fill", "/tmp/file", "2147487744"])?),
        ("bytes of shared memory", way("fallocate", &["fill", "/dev/shm/file", "2147487744"])?),
    ])
}

/// A machine with little, which the sandbox's user shares with others: whether these get none while the sandbox has all that
/// it can get.
fn used_up(attempt: &Attempt<'_>, what: &str, error: &str) -> Result<bool, Failed> {
    const MACHINE: &str =
        "cd /proc/sys/user && echo 20 >max_inotify_instances && echo 60 >max_inotify_watches &&
        { ! [ -e max_fanotify_groups ] || echo 20 >max_fanotify_groups; } && cd - >/dev/null || exit 99
        \"$@\" >inside & while kill -0 $! 2>/dev/null && ! [ -e held ]; do sleep 0.02; done
        \"$EDITED\" $PROBE; echo >done; wait; cat inside >&2; rm -f held done";
    let inside = attempt.probe(&[], &["hold-all", what, "held", "done"]);
    let mut machine = attempt.user.command("unshare");
    machine.args(["--user", "--map-current-user", "--keep-caps", "sh", "-c", MACHINE, "sh"]);
    machine.arg(inside.get_program()).args(inside.get_args());
    machine.env("EDITED", attempt.user.edited_path()).env("PROBE", format!("{} get-one {what}", probe::WORD));
    let out = output(&mut machine)?;
    out.stderr_has("got ")?;
    let got = out.text().trim().to_owned();
    out.check(got == error || got.parse::<u32>().is_ok(), || format!("a descriptor, or {error}"))?;
    Ok(got == error)
}
