//! A source that never answers: sbx refuses within seconds and leaves nothing.

use crate::common::{Case, Need, Output, User, Verdict, case, output};
use crate::stage::text;
use libtest_mimic::Failed;

pub(crate) fn cases() -> Vec<Case> {
    let fuse = Need::Device("/dev/fuse");
    vec![
        case!(a_hung_source).needs(fuse),
        case!(a_hung_source_is_told).needs(fuse),
        case!(a_hung_layer_of_an_overlay).needs(fuse),
        case!(a_hung_working_directory).needs(fuse),
        case!(a_hung_profile).needs(fuse),
        case!(a_hung_directory_of_the_path_runs_or_refuses).needs(fuse),
    ]
}

/// Runs a script beside a FUSE mount, `$DIR/hung`, whose server reads nothing; then says who is left.
fn beside_hung_mount(user: &User, script: &str) -> Result<Output, Failed> {
    user.mkdir("hung")?;
    let ids = if user.is_root() { "" } else { "Ur" };
    let start = "exec 3<>/dev/fuse
        mount -i -t fuse -o fd=3,rootmode=40000,user_id=0,group_id=0 hung \"$DIR/hung\"
        status=0";
    let end = "i=0; while [ \"$(echo /proc/[0-9]*)\" != \"/proc/1\" ] && [ $i -lt 30 ]; do i=$((i+1)); sleep 0.1; done
        echo status $status left /proc/[0-9]*";
    let mut command = user.command("unshare");
    command.arg(format!("-{ids}mpf")).args(["--kill-child", "--mount-proc"]);
    command.env("DIR", user.dir()).env("SBX", user.sbx_path());
    output(command.args(["sh", "-euc", &format!("{start}\n{script}\n{end}")]))
}

/// 125, at once as far as a person can tell, and only the script's shell is left.
fn refused(out: &Output) -> Verdict {
    out.exits(0)?.stdout_is("status 125 left /proc/1\n")?.stderr_has("sbx: error: cannot ")?;
    out.check(out.took.as_secs() < 20, || "within ten seconds, and some for a busy machine".to_owned())?;
    Ok(())
}

fn a_hung_source(user: &User) -> Verdict {
    for option in ["--ro", "--rw"] {
        let script = format!("\"$SBX\" {option} \"$DIR/hung:/mnt\" echo ran || status=$?");
        refused(&beside_hung_mount(user, &script)?)?;
    }
    refused(&beside_hung_mount(user, "\"$SBX\" --ro \"$DIR/hung/below:/mnt\" echo ran || status=$?")?)
}

/// Whoever reads the status lines hears of it, too.
fn a_hung_source_is_told(user: &User) -> Verdict {
    let script = "\"$SBX\" --status-fd 9 --ro \"$DIR/hung:/mnt\" echo ran 9>\"$DIR/status\" || status=$?";
    refused(&beside_hung_mount(user, script)?)?;
    let text = text(&user.dir().join("status"));
    let event: serde_json::Value = serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))?;
    if event["event"] == "failed" && event["status"] == 125 { Ok(()) } else { Err(text.into()) }
}

fn a_hung_layer_of_an_overlay(user: &User) -> Verdict {
    refused(&beside_hung_mount(user, "\"$SBX\" --overlay \"$DIR/hung\" echo ran || status=$?")?)
}

fn a_hung_working_directory(user: &User) -> Verdict {
    refused(&beside_hung_mount(
        user,
        "\"$SBX\" --chdir \"$DIR/hung\" --rw \"$DIR/hung\" echo ran || status=$?",
    )?)
}

fn a_hung_profile(user: &User) -> Verdict {
    refused(&beside_hung_mount(user, "\"$SBX\" --profile \"$DIR/hung/x.toml\" echo ran || status=$?")?)
}

/// As a mount of one's home that is gone: what isn't asked for there need not be in the way.
fn a_hung_directory_of_the_path_runs_or_refuses(user: &User) -> Verdict {
    let out = beside_hung_mount(user, "PATH=\"$PATH:$DIR/hung\" \"$SBX\" true || status=$?")?;
    let fine = ["status 0 left /proc/1\n", "status 125 left /proc/1\n"].contains(&out.text().as_str());
    out.exits(0)?.check(fine, || "it runs, or is refused".to_owned())?;
    Ok(())
}
