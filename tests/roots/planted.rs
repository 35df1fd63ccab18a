//! Roots and layers by somebody who means harm: links where the set-up mounts, and what the last run left.

use crate::common::{Case, Snapshot, User, Verdict, case};
use crate::stage::{root, script};
use std::fs;
use std::os::unix::fs::symlink;

pub(crate) fn cases() -> Vec<Case> {
    vec![case!(links_lead_nowhere_else), case!(links_of_the_last_run), case!(files_in_the_way)]
}

/// Every place that something is mounted at is a link to a directory of the host's.
fn links_lead_nowhere_else(user: &User) -> Verdict {
    let root = root(user, "root")?;
    let outside = user.mkdir("outside")?;
    user.put(outside.join("file"), "the host's\n")?;
    for name in ["proc", "dev", "tmp", "run", "home"] {
        symlink(&outside, root.join(name))?;
    }
    fs::remove_file(root.join("etc/hosts"))?;
    symlink(outside.join("file"), root.join("etc/hosts"))?;
    let before = Snapshot::with_times(&outside)?;
    // Inside, the links lead to places of the root's own.
    let out = script(user, &root, &[], "cat /etc/hosts; echo x >/tmp/x; echo x >/dev/x; ls -d /proc/1")?;
    out.stdout_lacks("the host's")?;
    before.same_as(&Snapshot::with_times(&outside)?)
}

/// A program makes its layer's `/tmp` a link, for the next start on that layer.
fn links_of_the_last_run(user: &User) -> Verdict {
    let root = root(user, "root")?;
    let outside = user.mkdir("outside")?;
    let before = Snapshot::with_times(&outside)?;
    let layer = ["--set", "filesystem.writable=layer:mine"];
    let plant = format!(
        "ln -s {0} /planted; rm /etc/hosts 2>/dev/null; mkdir /opt; ln -s {0} /opt/x",
        outside.display()
    );
    script(user, &root, &layer, &plant)?;
    let use_it = ["--set", "filesystem.writable=layer:mine", "--tmpfs", "/planted", "--tmpfs", "/opt/x/y"];
    script(user, &root, &use_it, "echo x >/planted/x; echo x >/opt/x/y/x; echo ran")?;
    before.same_as(&Snapshot::with_times(&outside)?)
}

/// Where a file of the root's is in a directory's place nothing runs.
fn files_in_the_way(user: &User) -> Verdict {
    let root = root(user, "root")?;
    user.put(root.join("proc"), "a file")?;
    let refused = script(user, &root, &[], "echo ran")?;
    refused.exits(125)?.stdout_is("")?.stderr_has("/proc")?;
    Ok(())
}
