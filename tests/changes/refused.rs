//! What stands in the way: nothing is changed then, and everything that does is listed.

use crate::common::{Case, Need, User, Verdict, case, output};
use crate::stage::{Ground, OVERLAY, clear, equal, tree};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(changed_meanwhile).needs(OVERLAY),
        case!(what_cannot_be_written).only_as_user().needs(OVERLAY),
        case!(what_cannot_be_read).only_as_user().needs(OVERLAY),
        case!(what_lies_too_deep),
        case!(another_filesystem).needs(OVERLAY),
        case!(a_full_disk).needs(OVERLAY),
        case!(a_write_that_fails).needs(OVERLAY).needs(Need::Program("strace")),
    ]
}

const FILL: &str = "mkdir -p d/e gone dir; echo a >a; echo b >b; echo x >d/e/x; echo g >gone/g; echo r >r; echo k >k; ln -s a link";
const SCRIPT: &str =
    "echo new >>a; rm -r d; rm -r gone; echo n >n; chmod 700 dir; rm r; ln -sfn b link; echo k2 >>k; mv b c";

/// Each with what is done in the directory in the meantime, and the line that tells of it.
const MEANWHILE: &[(&str, &str)] = &[
    (":", ""),
    ("echo other >>a", "a: changed since the layer was made"),
    ("chmod 600 a", "a: changed since the layer was made"),
    ("rm k", "k: its file may have been deleted since the layer was made: its directory was changed"),
    ("echo other >n", "n: changed since the layer was made"),
    ("mkdir n", "n: changed since the layer was made"),
    ("echo other >>d/e/x", "d: something in it changed since the layer was made"),
    ("echo other >d/e/y", "d: something in it changed since the layer was made"),
    ("touch -d 2001-01-01 gone/g", "gone: something in it changed since the layer was made"),
    ("rm -r gone; echo file >gone", "gone: changed since the layer was made"),
    ("echo other >>r", "r: changed since the layer was made"),
    ("rm a; mkdir a", "a: changed since the layer was made"),
    ("ln -sfn r link", "link: changed since the layer was made"),
    ("chmod 750 dir", "dir: changed since the layer was made"),
    ("mv b d/b", "d: changed since the layer was made"),
];

fn changed_meanwhile(user: &User) -> Verdict {
    let ground = Ground::new(user, FILL)?;
    for (change, line) in MEANWHILE {
        for directory in [&ground.dir, &ground.layer] {
            clear(user, directory)?;
        }
        user.mkdir(&ground.dir)?;
        let ground = Ground::new(user, FILL)?;
        ground.change(SCRIPT)?;
        output(user.command("sh").args(["-c", change]))?.exits(0)?;
        let before = (tree(&ground.dir)?, tree(&ground.layer.join("upper"))?);
        let output = ground.sbx(&["apply"])?;
        // The control.
        if line.is_empty() {
            output.exits(0)?;
            continue;
        }
        let head = "sbx: error: cannot apply the layer `project-1`: nothing is changed, for\n";
        output.exits(1)?.stdout_is("")?.stderr_has(head)?;
        output.stderr_has(&format!("    {line}\n"))?.stderr_has("  hint: name the paths")?;
        equal(&tree(&ground.dir)?, &before.0)?;
        equal(&tree(&ground.layer.join("upper"))?, &before.1)?;
        output.check(ground.left_over().is_empty(), || "nothing left over".to_owned())?;
    }
    Ok(())
}

fn what_cannot_be_written(user: &User) -> Verdict {
    let ground =
        Ground::new(user, "mkdir -p open closed/d; echo x >closed/x; echo y >closed/d/y; chmod 555 closed")?;
    ground.change("chmod 755 closed; echo new >closed/new; rm closed/x; rm -r closed/d; chmod 555 closed; echo new >open/new")?;
    let before = tree(&ground.dir)?;
    let why = "its directory can't be written";
    let output = ground.sbx(&["apply"])?;
    output
        .exits(1)?
        .stderr_has(&format!("    closed/d: {why}\n    closed/new: {why}\n    closed/x: {why}\n"))?;
    equal(&tree(&ground.dir)?, &before)?;
    // The control: the rest can be applied, and that when it was opened.
    ground.sbx(&["apply", "--", "open"])?.exits(0)?;
    crate::common::output(user.command("chmod").arg("755").arg(ground.dir.join("closed")))?.exits(0)?;
    ground.sbx(&["apply", "--", "closed/new"])?.exits(0)?;
    Ok(())
}

fn what_cannot_be_read(user: &User) -> Verdict {
    let ground = Ground::new(user, "echo a >a; mkdir d")?;
    ground.change(
        "echo b >a; chmod 0 a; mkdir shut; echo x >shut/x; chmod 0 shut; chmod 0 d; echo fine >fine",
    )?;
    ground.differs(&[
        "M  a  (mode 0644 -> 0000)  ! can't be read",
        "M  d/  (mode 0755 -> 0000)  ! can't be read",
        "A  fine",
        "A  shut/  ! can't be read",
    ])?;
    let before = tree(&ground.dir)?;
    let why = "a part of it can't be read";
    ground
        .sbx(&["apply"])?
        .exits(1)?
        .stderr_has(&format!("    a: {why}\n    d: {why}\n    shut: {why}\n"))?;
    equal(&tree(&ground.dir)?, &before)?;
    ground.sbx(&["apply", "--", "fine"])?.exits(0)?.stdout_is("A  fine\n")?;
    Ok(())
}

/// A program can make a directory that no path leads to. It keeps nothing else from being seen and applied.
fn what_lies_too_deep(user: &User) -> Verdict {
    let ground = Ground::new(user, "")?;
    user.put(ground.layer.join("upper/fine"), "")?;
    let deep = "cd \"$0\" && for part in 1 2 3 4 5 6; do
        path=deep; for step in $(seq 180); do path=$path/deep; done; mkdir -p $path && cd $path || exit 1; done; >file";
    output(user.command("bash").arg("-c").arg(deep).arg(ground.layer.join("upper")))?.exits(0)?;
    let shown = ground.sbx(&["diff"])?;
    shown.exits(0)?.stdout_has("  ! can't be read\nA  fine\n")?;
    ground.sbx(&["apply"])?.exits(1)?.stderr_has(": a part of it can't be read\n")?;
    ground.sbx(&["apply", "--", "fine"])?.exits(0)?.stdout_is("A  fine\n")?;
    // What removes the ground has the same trouble.
    output(user.command("rm").arg("-rf").arg(ground.layer.join("upper/deep")))?.exits(0)?;
    Ok(())
}

/// Something is mounted over a part of the directory now.
fn another_filesystem(user: &User) -> Verdict {
    let ground = Ground::new(user, "mkdir -p d gone/e; echo x >d/x")?;
    ground.change("echo y >>d/x; rm -r gone; echo new >new")?;
    let sbx = user.sbx_path().display();
    for (place, line) in [("d", "cannot compare `d`: "), ("gone/e", "    gone: a part of it can't be read\n")]
    {
        let script =
            format!("mount -t tmpfs none {place} && {sbx} apply; code=$?; ls -a . {place}; exit $code");
        let output = output(user.command("unshare").args(["-Urm", "sh", "-c", &script]))?;
        output.check(matches!(output.status.code(), Some(1 | 125)), || "refused".to_owned())?;
        output.stderr_has(line)?.stdout_lacks("new")?.stdout_lacks("sbx-apply")?;
    }
    ground.sbx(&["apply"])?.exits(0)?;
    Ok(())
}

/// A tmpfs of a megabyte, of which the first half is enough.
fn a_full_disk(user: &User) -> Verdict {
    let ground = Ground::new(user, "")?;
    user.put(ground.layer.join("upper/large"), vec![b'x'; 700 << 10])?;
    user.put(ground.layer.join("upper/small"), "s")?;
    let sbx = user.sbx_path().display();
    let layer = ground.layer.display();
    let script = format!(
        "mount -t tmpfs -o size=1m,mode=755 none . && cd \"$PWD\" && echo old >old && head -c 400k /dev/zero >half || exit 9
        sed -i \"s/\\\"device\\\": [0-9]*/\\\"device\\\": $(stat -c %d .)/; s/\\\"inode\\\": [0-9]*/\\\"inode\\\": $(stat -c %i .)/\" {layer}/layer.json
        {sbx} apply; echo \"status $?\"; ls -A; {sbx} apply -- small; ls -A; rm half; {sbx} apply; ls -A"
    );
    let output = output(user.command("unshare").args(["-Urm", "sh", "-c", &script]))?;
    let (refused, rest) =
        ("status 125\nhalf\nold\n", "A  small\nhalf\nold\nsmall\nA  large\nlarge\nold\nsmall\n");
    output.exits(0)?.stdout_is(&format!("{refused}{rest}"))?;
    output
        .stderr_has(" bytes are free; nothing is changed\n")
        .or_else(|_| output.stderr_has("are free; nothing is changed\n"))?;
    Ok(())
}

/// The disk is full though there was room: what was made ready goes again.
fn a_write_that_fails(user: &User) -> Verdict {
    let mut ground = Ground::new(user, FILL)?;
    ground.change(SCRIPT)?;
    let mut before = (tree(&ground.dir)?, tree(&ground.layer.join("upper"))?);
    // What fails before anything has changed; the last of them is the one before the first rename.
    for (call, least) in [("write", 3), ("fsync", 5), ("symlinkat", 1)] {
        let mut failed = 0;
        loop {
            let inject = format!("inject={call}:error=ENOSPC:when={}", failed + 1);
            let mut command = user.command("strace");
            command
                .args(["-qq", "-o", "/dev/null", "-e", &inject])
                .arg(user.sbx_path())
                .args(["apply", "-q"]);
            let output = output(&mut command)?;
            if !output.errors().contains("; nothing is changed\n") {
                output.check(failed >= least, || format!("{least} times {call} to fail before"))?;
                break;
            }
            failed += 1;
            output
                .exits(125)?
                .stderr_has("cannot write ")?
                .stderr_has("space left on device; nothing is changed\n")?;
            equal(&tree(&ground.dir)?, &before.0)?;
            equal(&tree(&ground.layer.join("upper"))?, &before.1)?;
            output.check(ground.left_over().is_empty(), || format!("{:?} gone", ground.left_over()))?;
        }
        for directory in [&ground.dir, &ground.layer] {
            clear(user, directory)?;
        }
        user.mkdir(&ground.dir)?;
        ground = Ground::new(user, FILL)?;
        ground.change(SCRIPT)?;
        before = (tree(&ground.dir)?, tree(&ground.layer.join("upper"))?);
    }
    Ok(())
}
