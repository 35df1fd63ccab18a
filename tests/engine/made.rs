//! Files, links, modes, masks and read-only islands, and what a later operation does to an earlier one.

use crate::common::edited::Edit;
use crate::common::{Case, Snapshot, User, Verdict, case, output};
use crate::probe::{add, bind, edited_sh, user_dir, with_redirections};
use sbx::plan::{Access, Content, MountOp, Plan};
use std::fs;

pub(crate) const EDITS: &[Edit] = &[
    ("files", files),
    ("fd-files", |plan| {
        add(plan, "/e/file", file(Content::Fd(7), 0o604));
        add(plan, "/e/data", data(Content::Fd(8), Access::ReadOnly));
    }),
    ("same-link", |plan| links(plan, ["target", "target"])),
    ("other-link", |plan| links(plan, ["target", "other"])),
    ("file-twice", |plan| {
        add(plan, "/e/file", file(bytes("1"), 0o644));
        add(plan, "/e/file", file(bytes("2"), 0o644));
    }),
    ("chmod", |plan| {
        add(plan, "/e/file", file(bytes(""), 0o600));
        for (dest, mode) in [("/e/file", 0o4751), ("/e", 0o711), ("/tmp", 0o700)] {
            add(plan, dest, MountOp::Chmod { mode });
        }
    }),
    ("chmod-host", |plan| {
        add(plan, "/e/d", bind(user_dir().join("d"), Access::Writable));
        add(plan, "/e/d/file", MountOp::Chmod { mode: 0o777 });
    }),
    ("masks", masks),
    ("islands", islands),
    ("order", order),
];

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(files_hold_what_the_plan_says),
        case!(files_come_from_descriptors),
        case!(a_link_may_come_twice_but_not_differ),
        case!(modes_are_set_on_its_own_files_only),
        case!(masks_cover_and_make_nothing),
        case!(a_mask_behind_a_link_covers),
        case!(islands_are_read_only),
        case!(a_later_operation_covers_an_earlier_one),
    ]
}

fn bytes(text: &str) -> Content {
    Content::Bytes(text.as_bytes().to_vec())
}

fn file(content: Content, mode: u32) -> MountOp {
    MountOp::File { content, mode }
}

fn data(content: Content, access: Access) -> MountOp {
    MountOp::Data { content, mode: 0o640, access }
}

fn files(plan: &mut Plan) {
    add(plan, "/e/d", bind(user_dir().join("d"), Access::ReadOnly));
    add(plan, "/e/dir", MountOp::Dir { mode: 0o710 });
    add(plan, "/e/dir/deep/er", MountOp::Dir { mode: 0o1777 });
    add(plan, "/e/dir", MountOp::Dir { mode: 0o750 });
    add(plan, "/e/file", file(bytes("in the root\n"), 0o604));
    add(plan, "/e/ro", data(bytes("read-only\n"), Access::ReadOnly));
    add(plan, "/e/rw", data(bytes("writable\n"), Access::Writable));
    // Over a file of the host's, which stays as it is.
    add(plan, "/e/d/file", data(bytes("covered\n"), Access::Writable));
    add(plan, "/e/link", MountOp::Symlink { target: "dir/deep".into() });
}

fn files_hold_what_the_plan_says(user: &User) -> Verdict {
    let host = user.put("d/file", "host\n")?;
    let script = "cd /e; stat -c '%n %a %F' dir dir/deep dir/deep/er file ro rw
        cat file ro rw d/file; readlink link; ls link
        for f in file ro dir/new; do (echo x >$f) 2>&1; done; echo new >rw && cat rw; echo new >d/file && cat d/file";
    let out = edited_sh(user, "files", script)?;
    out.exits(0)?.stdout_has(
        "dir 750 directory\ndir/deep 755 directory\ndir/deep/er 1777 directory\nfile 604 regular file\n\
         ro 640 regular file\nrw 640 regular file\nin the root\nread-only\nwritable\ncovered\ndir/deep\ner\n",
    )?;
    out.check(out.text().matches("Read-only file system").count() == 3, || "three refusals".to_owned())?;
    out.check(out.text().ends_with("new\nnew\n"), || "two writes".to_owned())?;
    out.check(fs::read_to_string(host)? == "host\n", || "the host changed".to_owned())?;
    Ok(())
}

fn files_come_from_descriptors(user: &User) -> Verdict {
    let large = "0123456789abcdef".repeat(10_000);
    user.put("seven", &large)?;
    user.put("eight", "8\n")?;
    let redirections = "7<\"$DIR/seven\" 8< <(echo through a pipe)";
    let mut outer = with_redirections(user, redirections, &user.edited("fd-files"));
    let out = output(outer.args([
        "sh",
        "-c",
        "stat -c %a /e/file; cat /e/data; cat /e/file >&2; ls /proc/self/fd",
    ]))?;
    out.exits(0)?.stdout_is("604\nthrough a pipe\n0\n1\n2\n3\n")?;
    out.check(out.errors() == large, || "all of the file".to_owned())?;
    Ok(())
}

fn links(plan: &mut Plan, targets: [&str; 2]) {
    for target in targets {
        add(plan, "/e/link", MountOp::Symlink { target: target.into() });
    }
}

fn a_link_may_come_twice_but_not_differ(user: &User) -> Verdict {
    edited_sh(user, "same-link", "readlink /e/link")?.exits(0)?.stdout_is("target\n")?;
    edited_sh(user, "other-link", "echo ran")?.exits(125)?.stdout_is("")?.stderr_has("`/e/link`")?;
    edited_sh(user, "file-twice", "echo ran")?.exits(125)?.stdout_is("")?.stderr_has("`/e/file`")?;
    Ok(())
}

fn modes_are_set_on_its_own_files_only(user: &User) -> Verdict {
    edited_sh(user, "chmod", "stat -c %a /e/file /e /tmp")?.exits(0)?.stdout_is("4751\n711\n700\n")?;
    user.put("d/file", "")?;
    let before = Snapshot::of(user.dir())?;
    edited_sh(user, "chmod-host", "echo ran")?.exits(125)?.stdout_is("")?.stderr_has("`/e/d/file`")?;
    before.same_as(&Snapshot::of(user.dir())?)
}

fn masks(plan: &mut Plan) {
    add(plan, "/e/d", bind(user_dir().join("d"), Access::Writable));
    for dest in
        ["/e/d/dir", "/e/d/file", "/e/d/missing", "/e/d/missing/deep", "/e/d/file/below", "/e/nothing"]
    {
        add(plan, dest, MountOp::Mask);
    }
}

fn masks_cover_and_make_nothing(user: &User) -> Verdict {
    user.put("d/dir/secret", "hidden\n")?;
    user.put("d/file", "hidden\n")?;
    user.put("d/kept", "kept\n")?;
    let before = Snapshot::of(user.dir())?;
    let script = "cd /e/d; ls . ..; cat kept; cat file dir/secret; ls dir; cd dir; echo x >file; : >dir/new
        chmod 777 file dir; rm -r file dir; mv file other; mv dir other; cat file; umount /e/d/file";
    let out = edited_sh(user, "masks", script)?;
    out.stdout_is(".:\ndir\nfile\nkept\n\n..:\nd\nkept\n")?.stderr_lacks("hidden")?;
    before.same_as(&Snapshot::of(user.dir())?)?;
    // The same bind without a mask shows it.
    let value = crate::probe::pair(user.dir().join("d"), "/e/d");
    crate::probe::sh(user, &["--rw", &value], "cat /e/d/file")?.stdout_is("hidden\n")?;
    Ok(())
}

fn a_mask_behind_a_link_covers(user: &User) -> Verdict {
    user.put("d/dir/secret", "hidden\n")?;
    std::os::unix::fs::symlink("dir", user.dir().join("d/link"))?;
    std::os::unix::fs::symlink("link/secret", user.dir().join("d/file"))?;
    let value = crate::probe::pair(user.dir().join("d"), "/e");
    for hidden in ["/e/dir/secret", "/e/link/secret", "/e/file", "/e/link"] {
        let script = "cat /e/dir/secret /e/link/secret /e/file";
        crate::probe::sh(user, &["--ro", &value, "--hide", hidden], script)?.stdout_is("")?;
    }
    // Two ways to the same thing.
    for (one, other) in
        [("/e/dir/secret", "/e/file"), ("/e/dir", "/e/link"), ("/e/dir/secret", "/e/link/secret")]
    {
        let options = ["--ro", &value, "--hide", one, "--hide", other, "--hide", "/e/link"];
        let script = "cat /e/dir/secret; echo $?";
        crate::probe::sh(user, &options, script)?.stdout_is("1\n")?;
    }
    Ok(())
}

fn islands(plan: &mut Plan) {
    add(plan, "/e/d", bind(user_dir().join("d"), Access::Writable));
    for dest in ["/e/d/dir", "/e/d/file", "/e/d/missing", "/e/d/missing/deep"] {
        add(plan, dest, MountOp::ReadOnly);
    }
}

fn islands_are_read_only(user: &User) -> Verdict {
    user.put("d/dir/deep/file", "old\n")?;
    user.put("d/file", "old\n")?;
    let before = Snapshot::of(user.dir())?;
    let script = "cd /e/d; cat file dir/deep/file; ls
        for f in file dir/new dir/deep/file; do (echo x >$f) 2>&1; done; mv dir moved 2>&1; rm file 2>&1";
    let out = edited_sh(user, "islands", script)?;
    out.stdout_has("old\nold\ndir\nfile\n")?;
    out.check(out.text().matches("Read-only file system").count() == 3, || "three refusals".to_owned())?;
    out.check(out.text().matches("busy").count() == 2, || "neither moved nor removed".to_owned())?;
    before.same_as(&Snapshot::of(user.dir())?)?;
    edited_sh(user, "islands", "echo x >/e/d/new")?.exits(0)?;
    if user.dir().join("d/new").exists() {
        Ok(())
    } else {
        Err("nothing was written beside the island".into())
    }
}

fn order(plan: &mut Plan) {
    let d = user_dir().join("d");
    let tmpfs = || MountOp::Tmpfs { size: 1 << 20, inodes: 20, mode: 0o755, access: Access::Writable };
    add(plan, "/e/bind", tmpfs());
    add(plan, "/e/bind", bind(d.join("a"), Access::ReadOnly));
    add(plan, "/e/bind", bind(d.join("b"), Access::ReadOnly));
    add(plan, "/e/tmpfs", bind(d.join("a"), Access::Writable));
    add(plan, "/e/tmpfs", tmpfs());
    add(plan, "/e/tmpfs/below", bind(d.join("b"), Access::ReadOnly));
    add(plan, "/e/late/below", bind(d.join("b"), Access::ReadOnly));
    add(plan, "/e/late", bind(d.join("a"), Access::ReadOnly));
    add(plan, "/e/file", file(bytes("file\n"), 0o644));
    add(plan, "/e/file", data(bytes("data\n"), Access::ReadOnly));
    add(plan, "/e/masked", bind(d.join("a"), Access::Writable));
    add(plan, "/e/masked", MountOp::Mask);
    add(plan, "/e/writable", bind(d.join("a"), Access::ReadOnly));
    add(plan, "/e/writable/sub", bind(d.join("c"), Access::Writable));
}

fn a_later_operation_covers_an_earlier_one(user: &User) -> Verdict {
    user.put("d/a/a", "")?;
    user.mkdir("d/a/sub")?;
    user.put("d/b/b", "")?;
    user.mkdir("d/c")?;
    let script =
        "cd /e; ls bind tmpfs tmpfs/below late; cat file; ls masked; (: >writable/x); : >writable/sub/x";
    let out = edited_sh(user, "order", script)?;
    out.exits(0)?.stdout_is("bind:\nb\n\nlate:\na\nsub\n\ntmpfs:\nbelow\n\ntmpfs/below:\nb\ndata\n")?;
    out.stderr_has("Permission denied")?.stderr_has("Read-only file system")?;
    let made = user.dir().join("d/c/x").exists() && !user.dir().join("d/a/x").exists();
    out.check(made, || "only the writable bind was written".to_owned())?;
    Ok(())
}
