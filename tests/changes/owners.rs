//! Layers with files of subordinate owners, which the caller can't even read outside: shown as they are, and applied as the
//! caller's own.

use crate::common::process::descendants;
use crate::common::{Case, Need, User, Verdict, case, output, wait_for};
use crate::stage::{Ground, NAME, OVERLAY, equal, timeless, tree};
use libtest_mimic::Failed;
use std::ffi::OsStr;
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use sbx::changes::{Ids, apply, find};
use sbx::sys::caps;

pub(crate) fn cases() -> Vec<Case> {
    let mapped = |case: Case| case.only_as_user().needs(Need::SubordinateIds);
    let grounded = |case: Case| mapped(case).needs(OVERLAY);
    let traced = |case: Case| grounded(case).needs(Need::Program("strace"));
    vec![
        mapped(case!(of_a_sandbox)),
        grounded(case!(become_the_callers_own)),
        traced(case!(where_they_cannot_be_mapped)),
        grounded(case!(the_directory_itself)),
        grounded(case!(modes_of_the_directory_hold)),
        grounded(case!(what_somebody_else_has_in_the_directory)),
        grounded(case!(planted_links)),
        grounded(case!(nothing_goes_on_alone)),
        traced(case!(killed_at_every_call)),
        traced(case!(a_full_disk)),
    ]
}

const FILL: &str = "mkdir -p d both; echo a >a; echo x >d/x; echo gone >gone; echo in >both/in";
const SCRIPT: &str = "mkdir -m 700 shut; echo in >shut/f; ln shut/f shut/g; chmod 600 shut/f; chown -R 33:33 shut
    echo b >>a; chown 7 a; chmod 600 a; rm gone; rm -r d; mkdir -m 710 d; echo y >d/y; chown -R 8:9 d
    echo more >>both/in; mkdir both/new; ln -s /nowhere both/link; chown -h 5 both/link; chown 0:42 both/in; chmod 640 both/in";

/// What may do everything with files of all the user's ids.
fn as_root_of_ids(user: &User, program: impl AsRef<OsStr>) -> Command {
    let mut command = user.command("unshare");
    command.args(["--map-root-user", "--map-auto", "--mount"]).arg(program);
    command
}

impl<'u> Ground<'u> {
    /// Runs a script in the overlay as root of the user's ids. What it then shows is copied, as files of the user's own.
    fn change_as_root(&self, script: &str) -> Result<PathBuf, Failed> {
        let shell = as_root_of_ids(self.user, "sh");
        self.change_by(shell, &format!("set -e\n( {script}\n)\ncp -a --no-preserve=ownership . \"$4\""))
    }

    /// `sbx` in a user namespace in which nobody maps ids for it.
    fn unmapped(&self, arguments: &[&str]) -> Result<crate::common::Output, Failed> {
        let mut command = self.user.command("unshare");
        command.args(["--user", "--map-current-user"]).arg(self.user.sbx_path()).args(arguments);
        output(&mut command)
    }

    /// `sbx` where the kernel makes no user namespaces.
    fn without_a_namespace(&self, arguments: &[&str]) -> Result<crate::common::Output, Failed> {
        let mut command = self.user.command("strace");
        command.args(["-f", "-qq", "-o", "/dev/null", "-e", "inject=unshare:error=EPERM"]);
        output(command.arg(self.user.sbx_path()).args(arguments))
    }

    /// Everything in the directory, and the directory, is the user's.
    fn is_all_the_users(&self) -> Verdict {
        let mut left = vec![self.dir.clone()];
        while let Some(path) = left.pop() {
            let there = fs::symlink_metadata(&path)?;
            if (there.uid(), there.gid()) != (self.user.uid(), self.user.gid()) {
                return Err(format!("{} is {}:{}", path.display(), there.uid(), there.gid()).into());
            }
            if there.is_dir() {
                left.extend(fs::read_dir(&path)?.flatten().map(|entry| entry.path()));
            }
        }
        Ok(())
    }
}

fn clear(user: &User, path: &Path) -> Verdict {
    let mut rm = as_root_of_ids(user, "rm");
    output(rm.current_dir(user.dir()).args(["-rf", "--"]).arg(path))?.exits(0)?;
    Ok(())
}

/// From the sandbox to the directory, with what root of the ids left behind.
fn of_a_sandbox(user: &User) -> Verdict {
    user.put(user.project().join("a"), "a\n")?;
    user.put(user.project().join("t"), "t\n")?;
    let project = user.project();
    let project = project.to_str().ok_or("a path that is no text")?;
    let script = "mkdir -m 700 shut; echo in >shut/f; chmod 600 shut/f; chown -R 33:33 shut; echo b >>a; chown 7 a; chmod 600 a; rm t";
    let sandbox = ["--quiet", "--profile", "distro", "--overlay", ".", "--chdir", project];
    output(user.sbx().args(sandbox).args(["--", "sh", "-c", script]))?.exits(0)?.stderr_is("")?;
    let shown = output(user.sbx().arg("diff"))?;
    shown.exits(0)?.stderr_is("")?.stdout_is(
        "M  a  (mode 0644 -> 0600)  ! of another owner\n\
         A  shut/  ! of another owner\nA  shut/f  ! of another owner\nD  t\n",
    )?;
    output(user.sbx().args(["diff", "--json"]))?.exits(0)?.stdout_has("\"other-owner\"")?;
    let patch = output(user.sbx().args(["diff", "--patch", "--", "a", "shut"]))?;
    patch
        .exits(0)?
        .stdout_has("@@ -1 +1,2 @@\n a\n+b\n")?
        .stdout_has("+++ b/shut/f\n@@ -0,0 +1 @@\n+in\n")?;
    output(user.sbx().arg("apply"))?.exits(0)?.stderr_is("")?.stdout_is(&shown.text())?;
    let text = |path: &str| fs::read_to_string(user.project().join(path));
    if text("a")? != "a\nb\n" || text("shut/f")? != "in\n" || user.project().join("t").exists() {
        return Err("the directory is another one than the sandbox left".into());
    }
    output(user.sbx().arg("diff"))?.exits(1)?.stderr_has("cannot find a layer of")?;
    Ok(())
}

fn become_the_callers_own(user: &User) -> Verdict {
    let ground = Ground::new(user, FILL)?;
    let wanted = ground.change_as_root(SCRIPT)?;
    // The control: outside it can't be read.
    output(user.command("ls").arg(ground.layer.join("upper/shut")))?.exits(2)?.stdout_is("")?;
    let shown = ground.sbx(&["diff"])?;
    shown.exits(0)?.stdout_has("A  shut/g  ! of another owner\n")?.stdout_lacks("can't be read")?;
    ground.sbx(&["apply", "--dry-run"])?.exits(0)?.stdout_is(&shown.text())?;
    ground.sbx(&["apply"])?.exits(0)?.stderr_is("")?;
    equal(&timeless(&ground.dir)?, &timeless(&wanted)?)?;
    ground.is_all_the_users()?;
    if !ground.left_over().is_empty() || ground.layer.exists() {
        return Err(format!("left: {:?}", ground.left_over()).into());
    }
    // Set-id for one of these owners would be set-id for the caller.
    let ground = Ground::new(user, FILL)?;
    ground.change_as_root("echo x >tool; chown 33 tool; chmod 4755 tool; echo y >team; chown 0:33 team; chmod 2755 team; echo z >fine; chown 33 fine")?;
    let before = tree(&ground.dir)?;
    for paths in [&["apply", NAME][..], &["apply", "--", "tool", "fine"], &["apply", "--", "team"]] {
        ground
            .sbx(paths)?
            .exits(1)?
            .stdout_is("")?
            .stderr_has(": set-id for another owner: it can't be applied\n")?;
        equal(&tree(&ground.dir)?, &before)?;
    }
    ground.sbx(&["apply", "--", "fine"])?.exits(0)?.stdout_is("A  fine  ! of another owner\n")?;
    ground.is_all_the_users()?;
    clear(user, &ground.layer)
}

/// What can't be read is marked and stays, as ever, and why is said.
fn where_they_cannot_be_mapped(user: &User) -> Verdict {
    let ground = Ground::new(user, FILL)?;
    ground.change_as_root(SCRIPT)?;
    let before = tree(&ground.dir)?;
    for attempt in [Ground::unmapped, Ground::without_a_namespace] {
        let shown = attempt(&ground, &["diff"])?;
        shown
            .exits(0)?
            .stdout_has("A  shut/  ! of another owner, can't be read\n")?
            .stdout_lacks("shut/f")?;
        let refused = attempt(&ground, &["apply"])?;
        refused.exits(1)?.stdout_is("")?.stderr_has("    shut: a part of it can't be read\n")?;
        equal(&tree(&ground.dir)?, &before)?;
    }
    let told = ground.without_a_namespace(&["diff"])?;
    told.stderr_has("sbx: warning: cannot map subordinate ids: no user namespace can be made\n  hint: ")?;
    clear(user, &ground.layer)
}

/// The upper dir is somebody else's, and closed: not even its layer can be opened outside.
fn the_directory_itself(user: &User) -> Verdict {
    let ground = Ground::new(user, FILL)?;
    ground.change_as_root("echo new >new; chown 33 . new; chmod 700 .")?;
    output(user.command("ls").arg(ground.layer.join("upper")))?.exits(2)?.stdout_is("")?;
    ground.differs(&["M  ./  (mode 0755 -> 0700)  ! of another owner", "A  new  ! of another owner"])?;
    ground.sbx(&["apply"])?.exits(0)?.stderr_is("")?;
    ground.is_all_the_users()?;
    if fs::metadata(&ground.dir)?.mode() & 0o7777 != 0o700 || !ground.left_over().is_empty() {
        return Err("the directory has another mode than in the layer".into());
    }
    Ok(())
}

/// Root of the ids could write where the user's own modes say no; `sbx apply` does not.
fn modes_of_the_directory_hold(user: &User) -> Verdict {
    let ground = Ground::new(user, "mkdir closed; chmod 555 closed")?;
    ground.change_as_root("echo new >closed/new; chown 33 closed/new")?;
    let before = tree(&ground.dir)?;
    let refused = ground.sbx(&["apply"])?;
    refused.exits(1)?.stderr_has("    closed/new: its directory can't be written\n")?;
    equal(&tree(&ground.dir)?, &before)?;
    // The control.
    output(user.command("chmod").args(["755", "closed"]))?.exits(0)?;
    ground.sbx(&["apply", "--", "closed/new"])?.exits(0)?.stdout_is("A  closed/new  ! of another owner\n")?;
    ground.is_all_the_users()
}

/// A directory of a subordinate owner's in the real one is nobody's to replace, as ever.
fn what_somebody_else_has_in_the_directory(user: &User) -> Verdict {
    let ground = Ground::new(user, "mkdir theirs mine; echo x >theirs/x; echo x >mine/x")?;
    output(as_root_of_ids(user, "chown").args(["-R", "33", "theirs"]))?.exits(0)?;
    ground.record(&ground.layer)?;
    ground.change_as_root("rm -r theirs mine")?;
    output(as_root_of_ids(user, "chown").arg("33").arg(ground.layer.join("upper")))?.exits(0)?;
    let refused = ground.sbx(&["apply"])?;
    refused.exits(1)?.stderr_has("    theirs: it, or something in it, belongs to somebody else\n")?;
    if !ground.dir.join("theirs/x").exists() || !ground.dir.join("mine/x").exists() {
        return Err("something is gone".into());
    }
    ground.sbx(&["apply", "--", "mine"])?.exits(0)?.stdout_is("D  mine/  (with 1 entry)\n")?;
    clear(user, &ground.dir)?;
    clear(user, &ground.layer)
}

/// Neither a link in the layer nor one that came to a directory's place leads anywhere, whatever may be read and written now.
fn planted_links(user: &User) -> Verdict {
    let ground = Ground::new(user, "mkdir d; echo x >d/x")?;
    let secret = user.put("secret/x", "secret\n")?;
    let secret = secret.to_str().ok_or("a path that is no text")?;
    ground.change_as_root(&format!(
        "ln -s {secret} link; chown -h 33 link; mkdir e; echo y >e/y; echo new >>d/x; chown 33 d/x"
    ))?;
    ground.sbx(&["diff", "--patch"])?.exits(0)?.stdout_lacks("+secret\n")?.stdout_has(secret)?;
    fs::rename(ground.dir.join("d"), user.dir().join("away"))?;
    std::os::unix::fs::symlink(user.dir().join("secret"), ground.dir.join("d"))?;
    let refused = ground.sbx(&["apply"])?;
    refused.check(matches!(refused.status.code(), Some(1 | 125)), || "refused".to_owned())?;
    if fs::read_to_string(secret)? != "secret\n" || ground.dir.join("e").exists() {
        return Err("something was written".into());
    }
    clear(user, &ground.layer)
}

/// The process that works on such files ends with the one that was started, and not as a second `sbx`.
fn nothing_goes_on_alone(user: &User) -> Verdict {
    let ground = Ground::new(user, "")?;
    ground.change_as_root("seq 300000 >long; chown 33 long; chmod 600 long")?;
    let mut command = user.sbx();
    let mut running = command.args(["diff", "--patch"]).stdout(Stdio::piped()).spawn()?;
    let mut pipe = running.stdout.take().ok_or("no pipe")?;
    // Somebody writes, and more than a pipe holds.
    pipe.read_exact(&mut [0; 100])?;
    let pid = i32::try_from(running.id())?;
    let children = descendants(pid);
    running.kill()?;
    running.wait()?;
    let is_there = |pid: &i32| Path::new(&format!("/proc/{pid}")).exists();
    wait_for("the end of the child", || (!children.iter().any(is_there)).then_some(()))?;
    if children.len() != 1 {
        return Err(format!("the children were {children:?}").into());
    }
    clear(user, &ground.layer)
}

/// The first argument by which this program does what `sbx apply` does where the ids are mapped. strace can't follow `sbx` there:
/// what it traces gets no ids.
const WORD: &str = "--apply";

/// To be called first in `main`.
pub(crate) fn answer() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next()? != WORD {
        return None;
    }
    let place = PathBuf::from(arguments.next()?);
    caps::set(caps::READ | caps::CHANGE, caps::READ).ok()?;
    let applied = find(&place, OsStr::new(NAME), Ids::Callers).and_then(|layer| apply(&layer, &[], false));
    Some(match applied {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    })
}

/// Does it, with something done to a call.
fn injected(ground: &Ground<'_>, inject: &str) -> Result<crate::common::Output, Failed> {
    let layers = ground.layer.parent().ok_or("a parent")?;
    let mut command = as_root_of_ids(ground.user, "strace");
    command.args(["-qq", "-o", "/dev/null", "-e", inject]).arg(ground.user.edited_path()).arg(WORD);
    output(command.arg(layers))
}

fn fresh(user: &User) -> Result<Ground<'_>, Failed> {
    for directory in [user.project(), user.home().join(".local")] {
        clear(user, &directory)?;
    }
    user.mkdir(user.project())?;
    Ground::new(user, FILL)
}

fn killed_at_every_call(user: &User) -> Verdict {
    let (mut moments, mut between, mut swept) = (0, 0, 0);
    for call in ["renameat", "renameat2", "unlinkat", "mkdirat", "capset", "fsync"] {
        for number in 1.. {
            let ground = fresh(user)?;
            let before = timeless(&ground.dir)?;
            let after = timeless(&ground.change_as_root(SCRIPT)?)?;
            let killed = injected(&ground, &format!("inject={call}:signal=SIGKILL:when={number}"))?;
            if killed.status.code() == Some(0) {
                break;
            }
            let now = timeless(&ground.dir)?;
            moments += 1;
            between += usize::from(now != before && now != after);
            if ground.layer.exists() {
                ground.sbx(&["apply", NAME])?.exits(0)?;
            }
            equal(&timeless(&ground.dir)?, &after)?;
            ground.is_all_the_users()?;
            let left = ground.left_over();
            let left: Vec<_> =
                left.iter().filter(|name| !name.to_string_lossy().starts_with(".passing-")).collect();
            if !left.is_empty() || ground.layer.exists() {
                return Err(format!("{call} {number}: {left:?} is left").into());
            }
            // What is out of sight goes with the next layer that is discarded.
            if !ground.left_over().is_empty() {
                swept += 1;
                ground.lay("other-1")?;
                ground.sbx(&["discard", "other-1"])?.exits(0)?;
                if !ground.left_over().is_empty() {
                    return Err(format!("{call} {number}: {:?} is left", ground.left_over()).into());
                }
            }
        }
    }
    clear(user, &user.home().join(".local"))?;
    // The control: there were moments at which it was neither as before nor as after.
    if moments > 30 && between > 10 && swept > 0 {
        Ok(())
    } else {
        Err(format!("{moments} moments, {between} in between, {swept} swept").into())
    }
}

fn a_full_disk(user: &User) -> Verdict {
    let mut failed = 0;
    loop {
        let ground = fresh(user)?;
        ground.change_as_root(SCRIPT)?;
        let before = tree(&ground.dir)?;
        let output = injected(&ground, &format!("inject=write:error=ENOSPC:when={}", failed + 1))?;
        if !output.errors().contains("; nothing is changed\n") {
            output.check(failed >= 3, || "three writes to fail before".to_owned())?;
            return clear(user, &user.home().join(".local"));
        }
        failed += 1;
        output.exits(1)?;
        equal(&tree(&ground.dir)?, &before)?;
        output.check(ground.left_over().is_empty(), || format!("{:?} gone", ground.left_over()))?;
        let shown = ground.sbx(&["diff"])?;
        shown.exits(0)?.stdout_has("A  shut/f  ! of another owner\n")?;
    }
}
