//! `sbx diff` on layers with names: they are compared with what they lay over the last time.

use crate::common::{Case, Need, User, Verdict, case, output};
use crate::stage::{kept, layer, root, script};
use libtest_mimic::Failed;
use std::fs;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(over_a_root),
        case!(over_several_directories).needs(Need::Program("strace")),
        case!(over_another_root),
        case!(over_what_is_not_known),
        case!(by_owners_of_its_own).only_as_user().needs(Need::SubordinateIds),
    ]
}

const MINE: [&str; 2] = ["--set", "filesystem.writable=layer:mine"];
const WRITES: &str = "echo new >/etc/new; echo changed >/etc/whose; rm -r /var/lib/directory";
const CHANGES: &str = "A  etc/new\nM  etc/whose\nD  var/lib/directory/  (with 1 entry)\n";

fn diff(user: &User, more: &[&str]) -> Result<crate::common::Output, Failed> {
    output(user.sbx().args(["diff", "mine"]).args(more))
}

fn over_a_root(user: &User) -> Verdict {
    let root = root(user, "root")?;
    script(user, &root, &MINE, WRITES)?.exits(0)?.stderr_is("")?;
    diff(user, &[])?.exits(0)?.stderr_is("")?.stdout_is(CHANGES)?;
    diff(user, &["--patch"])?
        .exits(0)?
        .stdout_has("-the root's\n+changed\n")?
        .stdout_has("deleted file mode")?;
    diff(user, &["--json"])?.exits(0)?.stdout_has("\"directory\": null")?.stdout_has("\"deleted\"")?;
    // What it is compared with is nothing to write to.
    output(user.sbx().args(["apply", "mine"]))?
        .exits(125)?
        .stderr_has("it is not of a directory\n  hint: ")?;
    fs::rename(&root, user.dir().join("away"))?;
    diff(user, &[])?.exits(125)?.stdout_is("")?.stderr_has("cannot open the layer's directory `")?;
    user.mkdir(&root)?;
    diff(user, &[])?.exits(125)?.stdout_is("")?.stderr_has("it is another directory now\n  hint: ")?;
    Ok(())
}

/// They are as one: what one of them hides is no change, and what is changed is compared with the topmost that has it.
fn over_several_directories(user: &User) -> Verdict {
    let root = root(user, "root")?;
    let first = layer(user, "first, of:two", "etc/whose", "the first's\n")?;
    user.put(first.join("etc/first"), "the first's\n")?;
    let second = layer(user, "second", "etc/whose", "the second's\n")?;
    user.put(second.join("srv/deep/file"), "the second's\n")?;
    let (first, second) = (first.to_string_lossy().into_owned(), second.to_string_lossy().into_owned());
    let options = [&MINE[..], &["--layer", &first, "--layer", &second]].concat();
    let writes = "echo more >>/etc/whose; rm /etc/first; rm -r /srv/deep; mkdir /srv/deep; touch /etc/hostname; chmod 600 /etc/passwd 2>/dev/null; true";
    script(user, &root, &options, writes)?.exits(0)?.stderr_is("")?;
    let shown = diff(user, &[])?;
    shown
        .exits(0)?
        .stderr_is("")?
        .stdout_has("D  etc/first\nM  etc/whose\n")?
        .stdout_has("D  srv/deep/file\n")?;
    diff(user, &["--patch"])?.exits(0)?.stdout_has(" the first's\n+more\n")?.stdout_lacks("second's\n+")?;
    // Where they can't be laid over each other nothing wrong is shown.
    let mut strace = user.command("strace");
    strace.args(["-f", "-qq", "-o", "/dev/null", "-e", "inject=unshare:error=EPERM"]);
    let refused = output(strace.arg(user.sbx_path()).args(["diff", "mine"]))?;
    refused.exits(125)?.stdout_is("")?.stderr_has("cannot mount what the layer `mine` lies over: ")?;
    // Nothing of it stays mounted, and the layer is as it was.
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    if mounts.contains("layers/mine") || !kept(user, "mine").join("upper/etc/whose").exists() {
        return Err("the layer should be as it was".into());
    }
    Ok(())
}

fn over_another_root(user: &User) -> Verdict {
    let (one, other) = (root(user, "one")?, root(user, "other")?);
    user.put(other.join("etc/whose"), "changed\n")?;
    script(user, &one, &MINE, WRITES)?.exits(0)?;
    script(user, &other, &MINE, "true")?.exits(0)?;
    diff(user, &[])?.exits(0)?.stdout_is("A  etc/new\nD  var/lib/directory/  (with 1 entry)\n")?;
    Ok(())
}

fn over_what_is_not_known(user: &User) -> Verdict {
    let root = root(user, "root")?;
    script(user, &root, &MINE, WRITES)?.exits(0)?;
    let record = kept(user, "mine").join("under.json");
    fs::remove_file(&record)?;
    let told = diff(user, &[])?;
    told.exits(0)?.stdout_has("A  etc/whose\n")?.stdout_lacks("D  ")?;
    told.stderr_has(
        "sbx: warning: what the layer `mine` lies over is not known, so all in it is shown as new",
    )?;
    diff(user, &["--quiet"])?.stderr_is("")?;
    // The remedy.
    script(user, &root, &MINE, "true")?.exits(0)?;
    diff(user, &[])?.exits(0)?.stderr_is("")?.stdout_is(CHANGES)?;
    user.put(record, "{}")?;
    diff(user, &[])?.exits(125)?.stdout_is("")?.stderr_has("under.json`: ")?;
    Ok(())
}

/// Several directories, and files of subordinate owners in the layer: both in one namespace.
fn by_owners_of_its_own(user: &User) -> Verdict {
    let root = root(user, "root")?;
    let first = layer(user, "first", "etc/first", "the first's\n")?.to_string_lossy().into_owned();
    let options = [&["--profile", "distro", "--layer", &first], &MINE[..]].concat();
    let writes = "mkdir -m 700 /srv; echo in >/srv/file; chmod 600 /srv/file; chown -R 33 /srv; rm /etc/first; echo x >>/etc/whose";
    script(user, &root, &options, writes)?.exits(0)?;
    let shown = "D  etc/first\nM  etc/whose\nA  srv/  ! of another owner\nA  srv/file  ! of another owner\n";
    diff(user, &[])?.exits(0)?.stderr_is("")?.stdout_is(shown)?;
    diff(user, &["--patch"])?.exits(0)?.stdout_has("+in\n")?.stdout_has("-the first's\n")?;
    let mut rm = user.command("unshare");
    output(rm.args(["--map-root-user", "--map-auto", "rm", "-rf"]).arg(kept(user, "mine")))?.exits(0)?;
    Ok(())
}
