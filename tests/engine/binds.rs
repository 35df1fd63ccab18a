//! Binds: by path and by descriptor, directories and files, over the root.

use crate::common::edited::Edit;
use crate::common::{Case, User, Verdict, case, output};
use crate::probe::{add, bind, bind_of, edited_sh, user_dir, with_redirections};
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use sbx::plan::{Access, BindSource, MountOp, Plan};
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

pub(crate) const EDITS: &[Edit] = &[
    ("binds", binds),
    ("missing-bind", |plan| add(plan, "/e/x", bind(user_dir().join("nothing"), Access::ReadOnly))),
    ("fd-bind", |plan| add(plan, "/e/fd", bind_of(BindSource::Fd(7), Access::ReadOnly))),
    ("devices", devices),
    ("wrong-device", |plan| device(plan, "/dev/zero", 3)),
    ("no-device", |plan| device(plan, "/etc/passwd", 3)),
    ("made", made),
];

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(read_only_and_writable),
        case!(a_missing_source_is_refused),
        case!(a_descriptor_is_bound),
        case!(a_descriptor_of_what_was_removed_is_refused),
        case!(a_descriptor_is_never_something_else),
        case!(devices_only_where_allowed),
        case!(only_the_right_device_node),
        case!(a_missing_directory_is_made_when_asked),
        case!(a_directory_on_a_file_is_refused),
    ]
}

fn binds(plan: &mut Plan) {
    let dir = user_dir();
    add(plan, "/e/ro", bind(dir.join("ro"), Access::ReadOnly));
    add(plan, "/e/rw", bind(dir.join("rw"), Access::Writable));
    add(plan, "/e/ro-file", bind(dir.join("ro/file"), Access::ReadOnly));
    add(plan, "/e/rw-file", bind(dir.join("rw/file"), Access::Writable));
    let optional = |name: &str| MountOp::Bind {
        source: BindSource::Path(dir.join(name)),
        access: Access::ReadOnly,
        devices: false,
        optional: true,
        create: None,
    };
    add(plan, "/e/none", optional("nothing"));
    add(plan, "/e/there", optional("ro"));
}

fn read_only_and_writable(user: &User) -> Verdict {
    user.put("ro/file", "old\n")?;
    user.put("rw/file", "old\n")?;
    let script = "ls /e; cat /e/ro/file /e/ro-file /e/there/file
        for f in /e/ro/file /e/ro/new /e/ro-file /e/there/file; do (echo x >$f) 2>&1; done
        echo new >/e/rw/new && echo changed >/e/rw-file";
    let out = edited_sh(user, "binds", script)?;
    out.exits(0)?.stdout_has("ro\nro-file\nrw\nrw-file\nthere\nold\nold\nold\n")?;
    out.check(out.text().matches("Read-only file system").count() == 4, || "four refusals".to_owned())?;
    let host = |name: &str| fs::read_to_string(user.dir().join(name)).unwrap_or_default();
    out.check(host("ro/file") == "old\n" && !user.dir().join("ro/new").exists(), || {
        "the host changed".to_owned()
    })?;
    out.check(host("rw/file") == "changed\n" && host("rw/new") == "new\n", || "the host's copy".to_owned())?;
    Ok(())
}

fn a_missing_source_is_refused(user: &User) -> Verdict {
    let out = edited_sh(user, "missing-bind", "echo ran")?;
    out.exits(125)?.stdout_is("")?.stderr_has("/nothing`: no such file or directory\n  hint: ")?;
    Ok(())
}

fn a_descriptor_is_bound(user: &User) -> Verdict {
    user.put("dir/file", "through a descriptor\n")?;
    for (what, script) in [("dir", "cat /e/fd/file"), ("dir/file", "cat /e/fd")] {
        let command = user.edited("fd-bind");
        let mut outer = with_redirections(user, &format!("7<\"$DIR/{what}\""), &command);
        output(outer.args(["sh", "-c", script]))?.exits(0)?.stdout_is("through a descriptor\n")?;
    }
    output(user.edited("fd-bind").arg("true"))?.exits(125)?.stderr_has("cannot hand over descriptor 7")?;
    Ok(())
}

/// The kernel then says `PATH (deleted)`, and somebody else can make a directory of that name.
fn a_descriptor_of_what_was_removed_is_refused(user: &User) -> Verdict {
    user.mkdir("gone")?;
    let redirection = "7<\"$DIR/gone\"; rmdir \"$DIR/gone\"; true";
    for planted in [false, true] {
        user.mkdir("gone")?;
        if planted {
            user.put("gone (deleted)/file", "wrong\n")?;
        }
        let mut outer = with_redirections(user, redirection, &user.edited("fd-bind"));
        let out = output(outer.args(["sh", "-c", "ls /e/fd; cat /e/fd/file"]))?;
        out.exits(125)?.stdout_is("")?;
    }
    Ok(())
}

/// While two directories change places, a bind by descriptor shows the one that was opened, or nothing.
fn a_descriptor_is_never_something_else(user: &User) -> Verdict {
    user.put("a/file", "right\n")?;
    user.put("b/file", "wrong\n")?;
    let (a, b) = (user.dir().join("a"), user.dir().join("b"));
    let held = user.dir().join("held");
    std::os::unix::fs::symlink(&a, &held)?;
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let _ = renameat2(AT_FDCWD, &a, AT_FDCWD, &b, RenameFlags::RENAME_EXCHANGE);
            }
        });
        let result = (0..40).try_for_each(|_| {
            // What the descriptor leads to is read through itself, so that both sides of the swap are right.
            let redirection = "7<\"$DIR/a\"; cat /proc/self/fd/7/file; true";
            let mut outer = with_redirections(user, redirection, &user.edited("fd-bind"));
            let out = output(outer.args(["cat", "/e/fd/file"]))?;
            let text = out.text();
            let words: Vec<_> = text.lines().collect();
            let same = words.len() == 2 && words[0] == words[1] && out.status.code() == Some(0);
            let refused = words.len() == 1 && out.status.code() == Some(125);
            out.check(same || refused, || "the opened directory, or a refusal".to_owned()).map(drop)
        });
        done.store(true, Ordering::Relaxed);
        result
    })
}

fn devices(plan: &mut Plan) {
    for (dest, devices) in [("/e/allowed", true), ("/e/not", false)] {
        let source = BindSource::Path("/dev/zero".into());
        add(
            plan,
            dest,
            MountOp::Bind { source, access: Access::Writable, devices, optional: false, create: None },
        );
    }
    add(plan, "/e/null", MountOp::Device { source: "/dev/null".into(), major: 1, minor: 3 });
}

fn devices_only_where_allowed(user: &User) -> Verdict {
    let script = "head -c 3 /e/allowed | wc -c; echo x >/e/null && echo null; head -c 3 /e/not";
    let out = edited_sh(user, "devices", script)?;
    out.stdout_is("3\nnull\n")?.stderr_has("Permission denied")?;
    Ok(())
}

fn device(plan: &mut Plan, source: &str, minor: u32) {
    add(plan, "/e/null", MountOp::Device { source: source.into(), major: 1, minor });
}

fn only_the_right_device_node(user: &User) -> Verdict {
    for edit in ["wrong-device", "no-device"] {
        let out = edited_sh(user, edit, "echo ran")?;
        out.exits(125)?.stdout_is("")?.stderr_has("it is not the device node that it should be")?;
    }
    Ok(())
}

fn made(plan: &mut Plan) {
    let op = MountOp::Bind {
        source: BindSource::Path(user_dir().join("state/deep")),
        access: Access::Writable,
        devices: false,
        optional: false,
        create: Some(0o700),
    };
    add(plan, "/e/state", op);
}

fn a_missing_directory_is_made_when_asked(user: &User) -> Verdict {
    use std::os::unix::fs::PermissionsExt as _;
    for script in ["echo 1 >/e/state/first", "cat /e/state/first"] {
        edited_sh(user, "made", script)?.exits(0)?;
    }
    let mode = fs::metadata(user.dir().join("state/deep"))?.permissions().mode() & 0o7777;
    if mode == 0o700 { Ok(()) } else { Err(format!("mode {mode:o}").into()) }
}

fn a_directory_on_a_file_is_refused(user: &User) -> Verdict {
    user.mkdir("dir")?;
    user.put("file", "")?;
    user.put("ro/file", "")?;
    for (source, dest) in [("dir", "/e/ro/file"), ("file", "/usr/lib")] {
        let below = crate::probe::pair(user.dir().join("ro"), "/e/ro");
        let value = crate::probe::pair(user.dir().join(source), dest);
        let out = output(user.sbx().args(["--ro", &below, "--ro", &value, "true"]))?;
        out.exits(125)?.stderr_has("one of source and destination is a directory")?;
    }
    Ok(())
}
