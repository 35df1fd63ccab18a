//! Directories that never answer: FUSE mounts whose server reads nothing.

use crate::common::{Case, Need, Output, User, Verdict, case, output};
use libtest_mimic::Failed;
use std::time::Duration;

pub(crate) fn cases() -> Vec<Case> {
    let cases = vec![case!(home), case!(a_directory_of_the_path)];
    let needs = |case: Case| case.needs(Need::Program("unshare")).needs(Need::Device("/dev/fuse"));
    cases.into_iter().map(needs).collect()
}

/// Runs the doctor beside such a mount, `$DIR/hung`; nothing but the script's shell may be left.
fn beside(user: &User, variables: &str) -> Result<Output, Failed> {
    user.mkdir("hung")?;
    let script = format!(
        "exec 3<>/dev/fuse; mount -i -t fuse -o fd=3,rootmode=40000,user_id=0,group_id=0 hung $DIR/hung; status=0; \
         {variables} $SBX doctor || status=$?; i=0; \
         while [ \"$(echo /proc/[0-9]*)\" != /proc/1 ] && [ $i -lt 30 ]; do i=$((i+1)); sleep 0.1; done; \
         echo status $status left /proc/[0-9]*"
    );
    let ids = if user.is_root() { "" } else { "Ur" };
    let mut command = user.command("unshare");
    command.arg(format!("-{ids}mpf")).args(["--kill-child", "--mount-proc", "sh", "-euc", &script]);
    let output = output(command.env("DIR", user.dir()).env("SBX", user.sbx_path()))?;
    output.exits(0)?.check(output.took < Duration::from_secs(20), || "it should be given up".to_owned())?;
    Ok(output)
}

fn home(user: &User) -> Verdict {
    beside(user, "HOME=$DIR/hung")?
        .stdout_has("info      the home directory: it does not answer\n")?
        .stdout_has("Sandboxes work here.")?
        .stdout_has("status 0 left /proc/1\n")?;
    Ok(())
}

/// What must be looked at for the rest of the answer: no answer.
fn a_directory_of_the_path(user: &User) -> Verdict {
    beside(user, "PATH=$DIR/hung:$PATH")?
        .stdout_is("status 125 left /proc/1\n")?
        .stderr_has("a file or directory that it looks at does not answer")?;
    Ok(())
}
